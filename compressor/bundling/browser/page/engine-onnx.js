// The artefact on onnxruntime-web: one thread.

/** The files that it loads but for the model, of a manifest's members. */
export const files = () => ["runtime/ort.js", "runtime/ort.wasm"];

export class Engine {
  /** Start the runtime and load the model of a site, see `loadSite`. */
  static async create(site) {
    const ort = await import("./runtime/ort.js");
    // More threads take headers that a plain web server does not send.
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmBinary = site.contents.get("runtime/ort.wasm");
    ort.env.logLevel = "error";
    const session = await ort.InferenceSession.create(site.model, {
      executionProviders: ["wasm"],
      graphOptimizationLevel: "all",
      logSeverityLevel: 3,
    });
    return new Engine(ort, session, site.artifact);
  }

  constructor(ort, session, artifact) {
    this.ort = ort;
    this.session = session;
    this.input = artifact.inputs[0];
    this.output = artifact.outputs[0];
    this.shape = this.input.shape.map((side) => side ?? 1);
    this.name = `onnxruntime-web ${ort.env.versions.web}`;
  }

  /** The scores of one picture, a Float32Array. */
  async run(picture) {
    const tensor = new this.ort.Tensor("float32", picture, this.shape);
    const outputs = await this.session.run({ [this.input.name]: tensor });
    return outputs[this.output.name].data;
  }
}
