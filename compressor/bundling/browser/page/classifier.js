// Runs the artefact: one thread, one picture at a time.
import { Engine } from "./engine.js";

const MOST_TIMES = 100;
const WARM_UP_RUNS = 20;
/** Runs that are shorter than the browser's clock ticks are timed together, for so many milliseconds. */
const TIMED_MS = 2;
const MOST_TIMED = 200;

export class Classifier {
  /** Load the model of a site, see `loadSite`. */
  static async create(site) {
    return new Classifier(await Engine.create(site), site.artifact);
  }

  constructor(engine, artifact) {
    this.engine = engine;
    this.artifact = artifact;
    this.times = [];
    this.together = 1;
  }

  /** What runs it. */
  get runtime() {
    return this.engine.name;
  }

  /** The scores of one picture, a Float32Array. */
  async scores(picture) {
    const before = performance.now();
    let scores;
    for (let run = 0; run < this.together; run += 1) {
      scores = this.engine.run(picture);
    }
    scores = await scores;
    this.times.push((performance.now() - before) / this.together);
    if (this.times.length > MOST_TIMES) {
      this.times.shift();
    }
    return scores;
  }

  /** {probabilities, chosen}: of each class, and the index of the one that the model says. */
  async classify(picture) {
    const scores = await this.scores(picture);
    const logits = this.artifact.outputs_are === "logits";
    const threshold = this.artifact.threshold;
    if (threshold !== null) {
      const second = logits ? 1 / (1 + Math.exp(-scores[0])) : scores[0];
      return { probabilities: [1 - second, second], chosen: Number(scores[0] > threshold) };
    }
    const probabilities = logits ? softmax(scores) : Array.from(scores);
    return { probabilities, chosen: scores.indexOf(Math.max(...scores)) };
  }

  /** Run the check vectors one by one: {right, examples, difference, tolerance}. */
  async check(vectors) {
    const size = vectors.inputs.length / vectors.examples;
    const outputs = vectors.outputs.length / vectors.examples;
    let right = 0;
    let difference = 0;
    for (let index = 0; index < vectors.examples; index += 1) {
      const scores = await this.scores(vectors.inputs.slice(index * size, (index + 1) * size));
      const expected = vectors.outputs.subarray(index * outputs, (index + 1) * outputs);
      const worst = furthest(scores, expected);
      right += Number(worst <= vectors.tolerance);
      difference = Math.max(difference, worst);
    }
    return { right, examples: vectors.examples, difference, tolerance: vectors.tolerance };
  }

  /** Run until the browser has compiled its best code; then time as many runs again. */
  async warmUp(vectors) {
    const picture = vectors.inputs.slice(0, vectors.inputs.length / vectors.examples);
    for (let run = 0; run < 2 * WARM_UP_RUNS; run += 1) {
      if (run === WARM_UP_RUNS) {
        this.times = [];
      } else if (run === WARM_UP_RUNS / 2 && this.engine.brief) {
        const mean = this.times.reduce((sum, time) => sum + time, 0) / this.times.length;
        this.together = Math.min(MOST_TIMED, Math.max(1, Math.round(TIMED_MS / mean)));
      }
      await this.scores(picture);
    }
  }

  /** {median, runs, together}: milliseconds of the last runs; each is the mean of `together`. */
  latency() {
    const sorted = [...this.times].sort((a, b) => a - b);
    return { median: sorted[Math.floor(sorted.length / 2)], runs: sorted.length, together: this.together };
  }
}

/** The largest difference of two lists of numbers; infinite where one is none, or they differ in length. */
function furthest(found, expected) {
  if (found.length !== expected.length || !found.every(Number.isFinite)) {
    return Infinity;
  }
  return found.reduce((worst, value, index) => Math.max(worst, Math.abs(value - expected[index])), 0);
}

function softmax(scores) {
  const highest = Math.max(...scores);
  const powers = Array.from(scores, (score) => Math.exp(score - highest));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}
