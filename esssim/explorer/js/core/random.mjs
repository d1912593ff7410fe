// The random numbers of numpy: SeedSequence, PCG64 and the ziggurat of standard_normal, to the last bit or two.
// The same seed gives the page and Python the same data, batches and noise.

const XSHIFT = 16,
  INIT_A = 0x43b0d7e5,
  MULT_A = 0x931e8875,
  INIT_B = 0x8b51f9dd,
  MULT_B = 0x58f38ded;
const MIX_L = 0xca01f9dd,
  MIX_R = 0x4973f715,
  POOL = 4;

/** The words of numpy.random.SeedSequence(seed, spawn_key=key). */
export function seedWords(seed, key = [], count = 8) {
  const entropy = wordsOf(seed);
  while (key.length && entropy.length < POOL) entropy.push(0);
  for (const part of key) entropy.push(...wordsOf(part));
  const pool = new Uint32Array(POOL);
  let constant = INIT_A;
  const hashed = (value) => {
    value = (value ^ constant) >>> 0;
    constant = Math.imul(constant, MULT_A) >>> 0;
    value = Math.imul(value, constant) >>> 0;
    return (value ^ (value >>> XSHIFT)) >>> 0;
  };
  const mixed = (x, y) => {
    const result = (Math.imul(x, MIX_L) - Math.imul(y, MIX_R)) >>> 0;
    return (result ^ (result >>> XSHIFT)) >>> 0;
  };
  for (let i = 0; i < POOL; i++) pool[i] = hashed(entropy[i] ?? 0);
  for (let from = 0; from < POOL; from++)
    for (let to = 0; to < POOL; to++) if (from !== to) pool[to] = mixed(pool[to], hashed(pool[from]));
  for (let from = POOL; from < entropy.length; from++)
    for (let to = 0; to < POOL; to++) pool[to] = mixed(pool[to], hashed(entropy[from]));
  const words = new Uint32Array(count);
  constant = INIT_B;
  for (let i = 0; i < count; i++) {
    let value = (pool[i % POOL] ^ constant) >>> 0;
    constant = Math.imul(constant, MULT_B) >>> 0;
    value = Math.imul(value, constant) >>> 0;
    words[i] = (value ^ (value >>> XSHIFT)) >>> 0;
  }
  return words;
}

function wordsOf(number) {
  const words = [number % 2 ** 32];
  for (let rest = Math.floor(number / 2 ** 32); rest > 0; rest = Math.floor(rest / 2 ** 32)) words.push(rest % 2 ** 32);
  return words;
}

// The multiplier 0x2360ed051fc65da44385df649fccf645 in 16-bit limbs, the lowest first.
const INVERSE = 1 / 65536;
const M = [0xf645, 0x9fcc, 0xdf64, 0x4385, 0x5da4, 0x1fc6, 0xed05, 0x2360];

/** numpy.random.default_rng(SeedSequence(seed, spawn_key=key)). */
export class Generator {
  constructor(seed, key = []) {
    const words = seedWords(seed, key);
    // generate_state gives 64-bit numbers, low word first; the first two are the state, high half first.
    const limbs = (high, low) => [low, low + 1, high, high + 1].flatMap((w) => [words[w] & 0xffff, words[w] >>> 16]);
    const start = limbs(0, 2),
      sequence = limbs(4, 6);
    this.increment = Float64Array.from(
      sequence,
      (limb, i) => ((limb << 1) | (i ? sequence[i - 1] >>> 15 : 1)) & 0xffff,
    );
    this.state = new Float64Array(8);
    this.high = this.low = 0;
    this.advance();
    let carry = 0;
    for (let i = 0; i < 8; i++) {
      const sum = this.state[i] + start[i] + carry;
      this.state[i] = sum & 0xffff;
      carry = sum >>> 16;
    }
    this.advance();
  }

  /** The next state, state·M + increment mod 2¹²⁸, and its output XSL-RR as two words. */
  advance() {
    const s = this.state,
      c = this.increment;
    const s0 = s[0],
      s1 = s[1],
      s2 = s[2],
      s3 = s[3],
      s4 = s[4],
      s5 = s[5],
      s6 = s[6],
      s7 = s[7];
    let t = s0 * M[0] + c[0],
      k = Math.floor(t * INVERSE);
    s[0] = t - k * 65536;
    t = s0 * M[1] + s1 * M[0] + c[1] + k;
    k = Math.floor(t * INVERSE);
    s[1] = t - k * 65536;
    t = s0 * M[2] + s1 * M[1] + s2 * M[0] + c[2] + k;
    k = Math.floor(t * INVERSE);
    s[2] = t - k * 65536;
    t = s0 * M[3] + s1 * M[2] + s2 * M[1] + s3 * M[0] + c[3] + k;
    k = Math.floor(t * INVERSE);
    s[3] = t - k * 65536;
    t = s0 * M[4] + s1 * M[3] + s2 * M[2] + s3 * M[1] + s4 * M[0] + c[4] + k;
    k = Math.floor(t * INVERSE);
    s[4] = t - k * 65536;
    t = s0 * M[5] + s1 * M[4] + s2 * M[3] + s3 * M[2] + s4 * M[1] + s5 * M[0] + c[5] + k;
    k = Math.floor(t * INVERSE);
    s[5] = t - k * 65536;
    t = s0 * M[6] + s1 * M[5] + s2 * M[4] + s3 * M[3] + s4 * M[2] + s5 * M[1] + s6 * M[0] + c[6] + k;
    k = Math.floor(t * INVERSE);
    s[6] = t - k * 65536;
    t = s0 * M[7] + s1 * M[6] + s2 * M[5] + s3 * M[4] + s4 * M[3] + s5 * M[2] + s6 * M[1] + s7 * M[0] + c[7] + k;
    s[7] = t - Math.floor(t * INVERSE) * 65536;
    const high = ((s[7] << 16) | s[6]) ^ ((s[3] << 16) | s[2]);
    const low = ((s[5] << 16) | s[4]) ^ ((s[1] << 16) | s[0]);
    const turn = s[7] >>> 10,
      by = turn & 31;
    const [a, b] = turn < 32 ? [high, low] : [low, high];
    this.high = (by ? (a >>> by) | (b << (32 - by)) : a) >>> 0;
    this.low = (by ? (b >>> by) | (a << (32 - by)) : b) >>> 0;
  }

  /** A number in [0, 1): numpy's random(). */
  uniform() {
    this.advance();
    return (this.high * 2097152 + (this.low >>> 11)) * 2 ** -53;
  }

  /** numpy's standard_normal(). */
  normal() {
    for (;;) {
      this.advance();
      const layer = this.low & 0xff,
        negative = (this.low >>> 8) & 1;
      const size = (this.high & 0x1fffffff) * 8388608 + (this.low >>> 9);
      const x = (negative ? -size : size) * WIDTHS[layer];
      if (size < INSIDE[layer]) return x;
      if (layer === 0) {
        const outward = Math.floor(size / 256) & 1 ? -1 : 1;
        for (;;) {
          const beyond = -Math.log1p(-this.uniform()) / TAIL,
            y = -Math.log1p(-this.uniform());
          if (2 * y > beyond * beyond) return outward * (TAIL + beyond);
        }
      }
      if ((HEIGHTS[layer - 1] - HEIGHTS[layer]) * this.uniform() + HEIGHTS[layer] < Math.exp(-0.5 * x * x)) return x;
    }
  }

  normals(count) {
    return Float64Array.from({ length: count }, () => this.normal());
  }
}

// The ziggurat: 256 layers of equal area under exp(−x²/2), the lowest with the tail beyond TAIL.
const TAIL = 3.6541528853610088,
  AREA = 0.004928673233974654931590913,
  SCALE = 2 ** 52;
const WIDTHS = new Float64Array(256),
  INSIDE = new Float64Array(256),
  HEIGHTS = new Float64Array(256);

(function fillTables() {
  const height = (x) => Math.exp(-0.5 * x * x);
  let outer = TAIL;
  for (let i = 255; i >= 1; i--) {
    WIDTHS[i] = outer / SCALE;
    HEIGHTS[i] = height(outer);
    const inner = i > 1 ? Math.sqrt(-2 * Math.log(AREA / outer + HEIGHTS[i])) : 0;
    INSIDE[i] = (inner / outer) * SCALE;
    outer = inner;
  }
  const base = AREA / height(TAIL);
  WIDTHS[0] = base / SCALE;
  INSIDE[0] = (TAIL / base) * SCALE;
  HEIGHTS[0] = 1;
})();
