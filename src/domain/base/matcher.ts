const NONE = -1
const ASCII = 128

/** A part of a text: from `start` up to and excluding `end`. */
export interface Span {
  readonly start: number
  readonly end: number
}

/**
 * Finds any of many strings in a text in one pass, whose time does not depend on the strings (Aho-Corasick). The
 * strings are stored as a trie in flat arrays, about 24 bytes per UTF-16 unit.
 */
export class Matcher {
  readonly #parent: Int32Array
  readonly #unit: Uint16Array
  readonly #depth: Int32Array
  /** The node to continue at when there is no matching child: that of the longest proper suffix. */
  readonly #fallback: Int32Array
  /** The length of the longest string that ends at a node. */
  readonly #longest: Int32Array
  /** Children, hashed by parent and unit; open addressing. */
  readonly #table: Int32Array
  readonly #mask: number
  /** Children of the root for ASCII; most of a text gets no further. */
  readonly #first = new Int32Array(ASCII).fill(NONE)
  #size = 1

  /** @param strings must not be empty strings */
  constructor(strings: readonly string[]) {
    const nodes = strings.reduce((sum, { length }) => sum + length, 1)
    this.#parent = new Int32Array(nodes)
    this.#unit = new Uint16Array(nodes)
    this.#depth = new Int32Array(nodes)
    this.#fallback = new Int32Array(nodes)
    this.#longest = new Int32Array(nodes)
    const slots = 2 ** Math.ceil(Math.log2(nodes * 2))
    this.#table = new Int32Array(slots).fill(NONE)
    this.#mask = slots - 1
    for (const string of strings) this.#add(string)
    for (let unit = 0; unit < ASCII; unit++) this.#first[unit] = this.#child(0, unit)
    this.#link()
  }

  /**
   * Finds the strings, in order; those that touch or overlap are one span.
   *
   * @returns the spans, and how many units at the end of the text may be the beginning of a string
   */
  scan(text: string): { spans: Span[]; begun: number } {
    const spans: { start: number; end: number }[] = []
    let node = 0
    for (let at = 0; at < text.length; at++) {
      node = this.#next(node, text.charCodeAt(at))
      const found = this.#longest[node]!
      if (found > 0) addAtEnd(spans, at + 1 - found, at + 1)
    }
    return { spans, begun: this.#depth[node]! }
  }

  #next(from: number, unit: number): number {
    let node = from
    while (node !== 0) {
      const child = this.#child(node, unit)
      if (child !== NONE) return child
      node = this.#fallback[node]!
    }
    const child = unit < ASCII ? this.#first[unit]! : this.#child(0, unit)
    return child === NONE ? 0 : child
  }

  #add(string: string): void {
    let node = 0
    for (let at = 0; at < string.length; at++) {
      const unit = string.charCodeAt(at)
      const child = this.#child(node, unit)
      node = child === NONE ? this.#grow(node, unit) : child
    }
    this.#longest[node] = string.length
  }

  #grow(parent: number, unit: number): number {
    const node = this.#size++
    this.#parent[node] = parent
    this.#unit[node] = unit
    this.#depth[node] = this.#depth[parent]! + 1
    let slot = this.#slotOf(parent, unit)
    while (this.#table[slot] !== NONE) slot = (slot + 1) & this.#mask
    this.#table[slot] = node
    return node
  }

  #child(parent: number, unit: number): number {
    for (let slot = this.#slotOf(parent, unit); ; slot = (slot + 1) & this.#mask) {
      const node = this.#table[slot]!
      if (node === NONE || (this.#parent[node] === parent && this.#unit[node] === unit)) return node
    }
  }

  #slotOf(parent: number, unit: number): number {
    const hash = Math.imul(parent, 0x9e3779b1) ^ Math.imul(unit + 1, 0x85ebca6b)
    return (hash ^ (hash >>> 15)) & this.#mask
  }

  /** Level by level, because fallbacks point to shorter strings. */
  #link(): void {
    for (const node of this.#byDepth()) {
      const parent = this.#parent[node]!
      this.#fallback[node] = parent === 0 ? 0 : this.#next(this.#fallback[parent]!, this.#unit[node]!)
      this.#longest[node] ||= this.#longest[this.#fallback[node]!]!
    }
  }

  /** All nodes except the root, by depth. */
  #byDepth(): Int32Array {
    const depths = this.#depth.subarray(1, this.#size)
    const starts = new Int32Array(depths.reduce((deepest, depth) => Math.max(deepest, depth), 0) + 2)
    for (const depth of depths) starts[depth + 1]! += 1
    for (let depth = 1; depth < starts.length; depth++) starts[depth]! += starts[depth - 1]!
    const nodes = new Int32Array(depths.length)
    for (const [index, depth] of depths.entries()) nodes[starts[depth]!++] = index + 1
    return nodes
  }
}

/** Adds a span that ends after all others, merging it with those it touches. */
function addAtEnd(spans: { start: number; end: number }[], start: number, end: number): void {
  let from = start
  for (let last = spans.at(-1); last !== undefined && last.end >= from; last = spans.at(-1)) {
    from = Math.min(from, last.start)
    spans.pop()
  }
  spans.push({ start: from, end })
}
