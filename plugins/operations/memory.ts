import type { Selection } from './port.ts'
import { type Samples, select } from './samples.ts'

/** One series of a track: a value per remembered sample, NaN where there was none. */
export interface Column {
  readonly labels: Readonly<Record<string, string>>
  readonly values: Float64Array
  /**
   * The index of its first sample, counted from the very first one. Values stored for older samples are meaningless.
   */
  readonly since: number
}

/** A selection of series over time. */
export class SampleTrack {
  readonly selection: Selection
  readonly columns = new Map<string, Column>()

  constructor(selection: Selection) {
    this.selection = selection
  }
}

/**
 * A ring of samples: the tracks' selections at each of the last sample times. Its size is fixed: a number of samples of
 * a number of series. Further series are left out.
 */
export class SampleRing {
  readonly #size: number
  readonly #maxSeries: number
  readonly #tracks: SampleTrack[] = []
  /** Milliseconds since 1970, for display, and on a monotonic clock, for measuring. */
  readonly #shown: Float64Array
  readonly #measured: Float64Array
  #series = 0
  #taken = 0

  constructor(size: number, maxSeries: number) {
    this.#size = size
    this.#maxSeries = maxSeries
    this.#shown = new Float64Array(size)
    this.#measured = new Float64Array(size)
  }

  /** Number of samples. */
  get length(): number {
    return Math.min(this.#taken, this.#size)
  }

  /** The metrics that the tracks select from. */
  get metrics(): string[] {
    return this.#tracks.map(({ selection }) => selection.metric)
  }

  track(selection: Selection): SampleTrack {
    const track = new SampleTrack(selection)
    this.#tracks.push(track)
    return track
  }

  take(samples: Samples, shown: number, measured: number): void {
    const slot = this.#taken++ % this.#size
    this.#shown[slot] = shown
    this.#measured[slot] = measured
    for (const track of this.#tracks) {
      for (const { values } of track.columns.values()) values[slot] = Number.NaN
      for (const [key, { labels, value }] of select(samples, track.selection)) {
        const column = track.columns.get(key) ?? this.#open(track, key, labels)
        if (column !== undefined) column.values[slot] = value
      }
    }
  }

  #open(track: SampleTrack, key: string, labels: Readonly<Record<string, string>>): Column | undefined {
    if (this.#series >= this.#maxSeries) return undefined
    this.#series++
    // Not filled with NaN: untouched pages take no memory, and most of it is never touched.
    const column = { labels, values: new Float64Array(this.#size), since: this.#taken - 1 }
    track.columns.set(key, column)
    return column
  }

  /** @param age samples before the latest one; 0 is the latest */
  at({ values, since }: Pick<Column, 'values' | 'since'>, age: number): number {
    return this.#taken - 1 - age < since ? Number.NaN : values[this.#slot(age)]!
  }

  /** When the sample was taken, in milliseconds since 1970. */
  timeOf(age: number): number {
    return this.#shown[this.#slot(age)]!
  }

  secondsBetween(older: number, newer: number): number {
    return (this.#measured[this.#slot(newer)]! - this.#measured[this.#slot(older)]!) / 1_000
  }

  /** The oldest sample at most `seconds` before another one. */
  ageBefore(age: number, seconds: number): number {
    let [near, far] = [age, this.length - 1]
    while (near < far) {
      const middle = Math.ceil((near + far) / 2)
      if (this.secondsBetween(middle, age) <= seconds) near = middle
      else far = middle - 1
    }
    return near
  }

  /** The growth of a counter; NaN where it is unknown. A series that appears later has grown from 0. */
  growth(column: Pick<Column, 'values' | 'since'>, older: number, newer: number): number {
    const [from, to] = [this.at(column, older), this.at(column, newer)]
    return to - (Number.isNaN(from) ? 0 : from)
  }

  #slot(age: number): number {
    return (this.#taken - 1 - age + this.#size * 2) % this.#size
  }
}
