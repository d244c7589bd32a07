// What one sees, but for the pad's ink.
import { Altered } from "./site.js";

/** With more classes than this, the most probable ones are shown, in that order. */
const MOST_BARS = 12;

const RUNTIME = "runtime/ort.wasm";
const WEIGHTS = {
  none: "float32 weights",
  float16: "float16 weights",
  dynamic: "int8 weights",
  int8: "int8 weights and activations",
  int4: "4-bit weights",
  codebook: "4 bits a weight",
  ternary: "2 bits a weight",
};

const whole = new Intl.NumberFormat("en-GB");
const percent = (share, digits) => `${(100 * share).toFixed(digits)} %`;

export class View {
  constructor(document) {
    this.document = document;
    this.pad = this.#find("pad");
    this.labels = [];
  }

  /** So much has come, 0 to 1. */
  progress(share) {
    this.#find("progress").value = share;
  }

  /** What is done now. */
  stage(text) {
    this.#text("status-text", text);
    this.#find("progress").removeAttribute("value");
  }

  /** Say which model it is, see `readManifest`. */
  describe({ manifest, artifact, sizes }) {
    this.labels = artifact.labels ?? Array.from({ length: artifact.classes }, (_, index) => String(index));
    const digits = artifact.labels === null && artifact.classes === 10;
    this.#text("title", digits ? "Draw a digit" : "Draw");
    this.document.title = digits ? "Draw a digit" : `Draw: ${manifest.name}`;
    this.#text(
      "lead",
      `A neural network of ${size(artifact.bytes)} reads it here, in your browser. Nothing that you draw leaves this page.`,
    );
    this.#facts(artifact);
    this.#identity(manifest, artifact, sizes);
    this.#bars(this.labels.map((label, index) => ({ label, index, probability: 0 })));
  }

  /** Say what the check vectors gave; wrong ones are said in red. */
  checked(result, runtime, site) {
    const proof = `${result.right} of ${result.examples} check vectors right in ${runtime}`;
    if (result.right === result.examples) {
      const proven = site.sizes.has(RUNTIME) ? "model and runtime" : "the model";
      this.#status("right", `${proof}; sha256 of ${proven} as in the manifest`);
      return;
    }
    const by = Number.isFinite(result.difference) ? result.difference.toPrecision(3) : "more than a number";
    this.#status(
      "wrong",
      `WRONG: only ${proof}. Outputs differ by up to ${by}, ${site.check.tolerance.toPrecision(3)} is allowed. This model does not compute here what it should, so it is not asked.`,
    );
  }

  /** Let the user draw; `picture` is the input of check.json. */
  ready(drawing, picture) {
    this.picture = picture;
    this.#text("seen-note", `what it sees\n${picture.height}\u00a0×\u00a0${picture.width}`);
    this.#find("board").removeAttribute("inert");
    this.#find("clear").addEventListener("click", () => drawing.clear());
    this.#find("undo").addEventListener("click", () => drawing.undo());
    this.document.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        drawing.clear();
      } else if (event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey) && !event.shiftKey) {
        event.preventDefault();
        drawing.undo();
      }
    });
  }

  /** Whether the answer is not yet that of what is drawn. */
  busy(busy) {
    this.#find("answer").setAttribute("aria-busy", String(busy));
  }

  /** There is a stroke, or none. */
  drawn(empty) {
    this.#find("invitation").hidden = !empty;
    this.#find("undo").disabled = empty;
    this.#find("clear").disabled = empty;
  }

  /** Nothing is drawn. */
  empty() {
    this.#text("verdict", "?");
    this.#find("verdict").className = "verdict doubtful";
    this.#text("certainty", "");
    this.#text("certainty-note", "nothing drawn yet");
    this.#bars(this.labels.map((label, index) => ({ label, index, probability: 0 })));
    const seen = this.#find("seen");
    seen.width = 0; // also clears it
  }

  /** Show the answer to a picture, a Float32Array of its pixels. */
  answer(probabilities, chosen, picture) {
    const certain = probabilities[chosen];
    const verdict = this.#find("verdict");
    verdict.textContent = this.labels[chosen];
    verdict.classList.toggle("doubtful", certain < 0.5);
    verdict.classList.toggle("long", this.labels[chosen].length > 2);
    this.#text("certainty", percent(certain, certain > 0.9995 ? 0 : 1));
    this.#text("certainty-note", certain < 0.5 ? "not sure at all" : certain < 0.9 ? "not quite sure" : "sure");
    this.#bars(
      probabilities.map((probability, index) => ({ label: this.labels[index], index, probability })),
      chosen,
    );
    this.#seen(picture);
  }

  /** Show the latency of the last runs. */
  latency({ median, runs, together }, runtime) {
    this.#text("latency", duration(median, together > 1));
    const all = together > 1 ? `${runs} means of ${together} runs` : `the last ${runs}`;
    this.#text("latency-note", `median of ${all}, one thread, ${runtime}`);
  }

  /** Say why nothing goes on. */
  failed(error) {
    this.#find("board").setAttribute("inert", "");
    const altered = error instanceof Altered;
    const text = altered ? `WRONG: ${error.message}. Nothing of it is run.` : `This page cannot run: ${error.message}`;
    this.#status(altered ? "wrong" : "failed", text);
  }

  #facts(artifact) {
    this.#text("size", size(artifact.bytes));
    this.#text("size-note", `${whole.format(artifact.bytes)} bytes on disk, ${WEIGHTS[artifact.quantize]}`);
    const proven = artifact.verified.find((one) => one.accuracy !== null);
    this.#text("accuracy", proven ? percent(proven.accuracy, 2) : "–");
    this.#text("accuracy-note", proven ? accuracyNote(proven) : "not measured: there was no data set");
    const { sparsity } = artifact.provenance;
    const weights = artifact.tensors.reduce((sum, tensor) => sum + count(tensor), 0);
    this.#text("sparsity", sparsity === null ? "–" : percent(sparsity, 1));
    this.#text("sparsity-note", `of the kernels; ${whole.format(weights)} weights in the file`);
    this.#find("facts").hidden = false;
  }

  #identity(manifest, artifact, sizes) {
    const all = [...sizes.values()].reduce((sum, bytes) => sum + bytes, 0);
    const { provenance } = artifact;
    const needs = Object.entries(artifact.needs).map(([name, version]) => `${name} ${version}`);
    const encodings = [...new Set(artifact.tensors.map((tensor) => `${tensor.encoding} ${tensor.values}`))];
    const rows = [
      ["name", manifest.name],
      ["file", artifact.file],
      ["sha256", artifact.sha256],
      ["quantisation", artifact.quantize],
      ["format", artifact.format === "c" ? "WebAssembly, compiled of C code" : `ONNX, operators ${needs.join(", ")}`],
      ["stored as", encodings.join(", ")],
      ["optimised for", artifact.optimize],
      ["verified in", artifact.verified.map(runtimeOf).join(", ") || "no runtime"],
      ["runtime here", sizes.has(RUNTIME) ? `${manifest.runtime.name} ${manifest.runtime.version}, ${size(sizes.get(RUNTIME))}` : "none"],
      ["fetched in all", `${whole.format(all)} bytes, from this web server alone`],
      ["seed", provenance.seed ?? "not known"],
      ["made by", provenance.created_by],
      ["origin", "no page can prove its own: compressor verify FOLDER --key PUB does"],
    ];
    this.#find("identity").replaceChildren(
      ...rows.map(([name, value]) => {
        const row = this.document.createElement("tr");
        const head = this.document.createElement("th");
        head.scope = "row";
        head.textContent = name;
        const cell = this.document.createElement("td");
        cell.textContent = value;
        row.append(head, cell);
        return row;
      }),
    );
    this.#find("details").hidden = false;
  }

  #bars(rows, chosen = -1) {
    const list = this.#find("bars");
    const shown =
      rows.length <= MOST_BARS
        ? rows
        : [...rows].sort((a, b) => b.probability - a.probability || a.index - b.index).slice(0, MOST_BARS);
    while (list.children.length < shown.length) {
      const item = this.document.createElement("li");
      for (const part of ["label", "bar", "share"]) {
        const span = this.document.createElement("span");
        span.className = part;
        item.append(span);
      }
      list.append(item);
    }
    shown.forEach((row, place) => {
      const item = list.children[place];
      const [label, bar, share] = item.children;
      label.textContent = row.label;
      label.title = row.label;
      bar.style.setProperty("--share", row.probability.toFixed(4));
      share.textContent = chosen < 0 ? "" : percent(row.probability, 1);
      item.classList.toggle("chosen", row.index === chosen);
    });
  }

  #seen(picture) {
    const { height, width, paper, ink } = this.picture;
    const canvas = this.#find("seen");
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    picture.forEach((value, pixel) => {
      const level = (255 * (value - paper)) / (ink - paper);
      image.data.set([level, level, level, 255], 4 * pixel);
    });
    context.putImageData(image, 0, 0);
  }

  #status(state, text) {
    this.#find("status").dataset.state = state;
    this.#text("status-text", text);
  }

  #text(id, text) {
    this.#find(id).textContent = text;
  }

  #find(id) {
    return this.document.getElementById(id);
  }
}

function accuracyNote(proven) {
  const original = proven.reference_accuracy;
  const beside = original === null ? "" : `; the model it was made of: ${percent(original, 2)}`;
  return `of ${whole.format(proven.examples)} pictures in ${runtimeOf(proven)}${beside}`;
}

function runtimeOf({ runtime, version }) {
  return runtime === "c" ? "C code, on the machine that made it" : `${runtime} ${version}`;
}

function count(tensor) {
  return tensor.shape.reduce((product, side) => product * side, 1);
}

/** Milliseconds as people say them; browsers round their clocks to a tenth of one, or to a whole one. */
function duration(time, fine) {
  if (time < 0.1) {
    return fine ? `${(1000 * time).toPrecision(2)} µs` : "< 0.1 ms";
  }
  return `${time.toFixed(time < 10 ? 1 : 0)} ms`;
}

/** Bytes as people say them. */
function size(bytes) {
  if (bytes < 1000) {
    return `${bytes} bytes`;
  }
  const [unit, scale] = bytes < 999500 ? ["kB", 1e3] : ["MB", 1e6];
  const value = bytes / scale;
  return `${value.toFixed(value < 100 && unit === "MB" ? 1 : 0)} ${unit}`;
}
