/** Rounds of SipHash's short-word variant: one per input word, three before each output half. */
const FINAL_ROUNDS = 3

/**
 * HalfSipHash-1-3 of a text, 64 bits wide. Without the key, an attacker cannot choose colliding texts, which with an
 * unkeyed hash would let one client get another refused.
 */
export class KeyedHash {
  /** Hash of the latest text, as signed 32-bit integers. */
  high = 0
  low = 0
  readonly #key0: number
  readonly #key1: number
  #v0 = 0
  #v1 = 0
  #v2 = 0
  #v3 = 0

  constructor(key0: number, key1: number) {
    this.#key0 = key0
    this.#key1 = key1
  }

  update(text: string): void {
    this.#v0 = this.#key0
    this.#v1 = this.#key1 ^ 0xee
    this.#v2 = this.#key0 ^ 0x6c796765
    this.#v3 = this.#key1 ^ 0x74656462
    const { length } = text
    for (let index = 0; index + 1 < length; index += 2)
      this.#absorb(text.charCodeAt(index) | (text.charCodeAt(index + 1) << 16))
    const last = length % 2 === 1 ? text.charCodeAt(length - 1) : 0
    this.#absorb(last | (length << 16))
    this.#v2 ^= 0xee
    this.low = this.#squeeze()
    this.#v1 ^= 0xdd
    this.high = this.#squeeze()
  }

  #absorb(word: number): void {
    this.#v3 ^= word
    this.#round()
    this.#v0 ^= word
  }

  #squeeze(): number {
    for (let round = 0; round < FINAL_ROUNDS; round++) this.#round()
    return this.#v1 ^ this.#v3
  }

  #round(): void {
    let [v0, v1, v2, v3] = [this.#v0, this.#v1, this.#v2, this.#v3]
    v0 = (v0 + v1) | 0
    v1 = rotate(v1, 5) ^ v0
    v0 = rotate(v0, 16)
    v2 = (v2 + v3) | 0
    v3 = rotate(v3, 8) ^ v2
    v0 = (v0 + v3) | 0
    v3 = rotate(v3, 7) ^ v0
    v2 = (v2 + v1) | 0
    v1 = rotate(v1, 13) ^ v2
    this.#v0 = v0
    this.#v1 = v1
    this.#v2 = rotate(v2, 16)
    this.#v3 = v3
  }
}

function rotate(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits))
}
