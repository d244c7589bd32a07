// Runs the artefact on onnxruntime-web: one thread, one picture at a time.

const MOST_TIMES = 100;
const WARM_UP_RUNS = 20;

export class Classifier {
  /** Start the runtime and load the model of a site, see `loadSite`. */
  static async create(site) {
    const ort = await import("./runtime/ort.js");
    // More threads take headers that a plain web server does not send.
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmBinary = site.wasm;
    ort.env.logLevel = "error";
    const session = await ort.InferenceSession.create(site.model, {
      executionProviders: ["wasm"],
      graphOptimizationLevel: "all",
      logSeverityLevel: 3,
    });
    return new Classifier(ort, session, site);
  }

  constructor(ort, session, site) {
    this.ort = ort;
    this.session = session;
    this.artifact = site.artifact;
    this.input = site.artifact.inputs[0];
    this.shape = this.input.shape.map((side) => side ?? 1);
    this.times = [];
  }

  /** The version of onnxruntime-web that runs. */
  get version() {
    return this.ort.env.versions.web;
  }

  /** The scores of one picture, a Float32Array. */
  async scores(picture) {
    const tensor = new this.ort.Tensor("float32", picture, this.shape);
    const before = performance.now();
    const outputs = await this.session.run({ [this.input.name]: tensor });
    this.times.push(performance.now() - before);
    if (this.times.length > MOST_TIMES) {
      this.times.shift();
    }
    return outputs[this.artifact.outputs[0].name].data;
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
      }
      await this.scores(picture);
    }
  }

  /** {median, runs}: milliseconds of the last runs. */
  latency() {
    const sorted = [...this.times].sort((a, b) => a - b);
    return { median: sorted[Math.floor(sorted.length / 2)], runs: sorted.length };
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
