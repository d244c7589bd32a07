// Runs a module on inputs, as the page does: node check.mjs MODULE INPUTS EXAMPLES OUTPUTS. INPUTS are
// float32, little-endian; the outputs, so many of each example, go to standard output.
import { readFileSync, writeSync } from "node:fs";

const [module, inputs, examples, outputs] = process.argv.slice(2);
// Without imports a module can compute, and nothing else.
const { instance } = await WebAssembly.instantiate(readFileSync(module), {});
const code = instance.exports;
const given = new Float32Array(Uint8Array.from(readFileSync(inputs)).buffer);
const size = given.length / Number(examples);
for (let example = 0; example < Number(examples); example += 1) {
  new Float32Array(code.memory.buffer, code.input(), size).set(given.subarray(size * example, size * (example + 1)));
  if (code.run() !== 0) {
    throw new Error("the model refuses to run");
  }
  const made = new Uint8Array(code.memory.buffer, code.output(), 4 * Number(outputs));
  for (let done = 0; done < made.length; ) {
    done += writeSync(1, made, done);
  }
}
