// The artefact as WebAssembly compiled of C code: no runtime.

const SCALAR = "scalar.wasm";

// A module of one function that adds two vectors: browsers without SIMD refuse it.
const PROBE = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];
const simd = WebAssembly.validate(Uint8Array.from(PROBE));

/** The files that are loaded in place of the model. */
export const files = () => (simd ? [] : [SCALAR]);

export class Engine {
  /** Load the model of a site, see `loadSite`. */
  static async create(site) {
    const code = simd ? site.model : site.contents.get(SCALAR);
    const { instance } = await WebAssembly.instantiate(code);
    return new Engine(instance.exports, site.artifact);
  }

  constructor(code, artifact) {
    const size = (port) => port.shape.reduce((product, side) => product * (side ?? 1), 1);
    const { buffer } = code.memory;
    this.code = code;
    this.given = new Float32Array(buffer, code.input(), size(artifact.inputs[0]));
    this.made = new Float32Array(buffer, code.output(), size(artifact.outputs[0]));
    this.name = `WebAssembly with${simd ? "" : "out"} SIMD`;
    /** A run is shorter than a tick of the browser's clock. */
    this.brief = true;
  }

  /** The scores of one picture, a Float32Array. */
  run(picture) {
    this.given.set(picture);
    if (this.code.run() !== 0) {
      throw new Error("the model refuses to run");
    }
    return this.made.slice();
  }
}
