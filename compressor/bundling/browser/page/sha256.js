// SHA-256. Browsers offer their own on https and on localhost only; a phone that is shown a page
// over plain http in a local network gets the one below, FIPS 180-4, section 6.2.

/** The sha256 of bytes, as 64 hex digits. */
export async function sha256(bytes) {
  const digest = globalThis.crypto?.subtle
    ? new Uint8Array(await crypto.subtle.digest("SHA-256", bytes))
    : sha256WithoutBrowser(bytes);
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The same in JavaScript alone: 32 bytes. */
export function sha256WithoutBrowser(bytes) {
  const state = Int32Array.from(INITIAL);
  const schedule = new Int32Array(64);
  const whole = bytes.length - (bytes.length % 64);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let offset = 0; offset < whole; offset += 64) {
    compress(state, schedule, view, offset);
  }
  const tail = padded(bytes, whole);
  for (let offset = 0; offset < tail.byteLength; offset += 64) {
    compress(state, schedule, tail, offset);
  }
  const digest = new DataView(new ArrayBuffer(32));
  state.forEach((word, index) => digest.setInt32(4 * index, word));
  return new Uint8Array(digest.buffer);
}

/** What follows the whole blocks: the rest, a one bit, zeros, and the length in bits. */
function padded(bytes, whole) {
  const rest = bytes.subarray(whole);
  const tail = new Uint8Array(rest.length < 56 ? 64 : 128);
  tail.set(rest);
  tail[rest.length] = 0x80;
  const view = new DataView(tail.buffer);
  view.setUint32(tail.length - 8, Math.floor(bytes.length / 2 ** 29));
  view.setUint32(tail.length - 4, (bytes.length << 3) >>> 0);
  return view;
}

function compress(state, schedule, view, offset) {
  for (let t = 0; t < 16; t += 1) {
    schedule[t] = view.getInt32(offset + 4 * t);
  }
  for (let t = 16; t < 64; t += 1) {
    const early = schedule[t - 15];
    const late = schedule[t - 2];
    const s0 = turn(early, 7) ^ turn(early, 18) ^ (early >>> 3);
    const s1 = turn(late, 17) ^ turn(late, 19) ^ (late >>> 10);
    schedule[t] = (schedule[t - 16] + s0 + schedule[t - 7] + s1) | 0;
  }
  let [a, b, c, d, e, f, g, h] = state;
  for (let t = 0; t < 64; t += 1) {
    const s1 = turn(e, 6) ^ turn(e, 11) ^ turn(e, 25);
    const first = (h + s1 + ((e & f) ^ (~e & g)) + CONSTANTS[t] + schedule[t]) | 0;
    const s0 = turn(a, 2) ^ turn(a, 13) ^ turn(a, 22);
    const second = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    [h, g, f, e, d, c, b, a] = [g, f, e, (d + first) | 0, c, b, a, (first + second) | 0];
  }
  [a, b, c, d, e, f, g, h].forEach((word, index) => {
    state[index] = (state[index] + word) | 0;
  });
}

function turn(word, bits) {
  return (word >>> bits) | (word << (32 - bits));
}

const PRIMES = [];
for (let number = 2; PRIMES.length < 64; number += 1) {
  if (PRIMES.every((prime) => number % prime !== 0)) {
    PRIMES.push(number);
  }
}

/** The first 32 bits of the fraction of the `degree`-th root of a prime, exactly. */
function fractionOfRoot(prime, degree) {
  // The largest root with root^degree <= prime * 2^(32 * degree), by halving, in whole numbers.
  const target = BigInt(prime) << BigInt(32 * degree);
  let root = 0n;
  for (let bit = 1n << 40n; bit > 0n; bit >>= 1n) {
    if ((root | bit) ** BigInt(degree) <= target) {
      root |= bit;
    }
  }
  return Number(root & 0xffffffffn);
}

const INITIAL = PRIMES.slice(0, 8).map((prime) => fractionOfRoot(prime, 2));
const CONSTANTS = Int32Array.from(PRIMES, (prime) => fractionOfRoot(prime, 3));
