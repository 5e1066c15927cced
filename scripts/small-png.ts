import { crc32, deflateSync, inflateSync } from 'node:zlib'

/* Pages have few colours: with a palette, screenshots are a third as large. */

const SIGNATURE = Buffer.from('89504e470d0a1a0a', 'hex')
const COLOURS = 256

/**
 * Reduces an image to a palette of at most 256 colours; every other colour becomes the nearest of them.
 *
 * @param png with 8 bits per channel, RGB or RGBA, not interlaced, as browsers produce it
 */
export function smallPng(png: Buffer): Buffer {
  const { width, height, pixels, size } = decode(png)
  const frequency = new Map<number, number>()
  const keys = new Uint32Array(width * height)
  for (let at = 0; at < keys.length; at++) {
    const key = (pixels[at * size]! << 16) | (pixels[at * size + 1]! << 8) | pixels[at * size + 2]!
    keys[at] = key
    frequency.set(key, (frequency.get(key) ?? 0) + 1)
  }
  const palette = paletteOf(frequency)
  const index = new Map(palette.map((key, at) => [key, at]))
  for (const key of frequency.keys()) if (!index.has(key)) index.set(key, nearest(key, palette))

  const rows = Buffer.alloc((width + 1) * height)
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) rows[y * (width + 1) + 1 + x] = index.get(keys[y * width + x]!)!
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width, 0)
  header.writeUInt32BE(height, 4)
  header.set([8, 3, 0, 0, 0], 8)
  const colours = Buffer.from(palette.flatMap(key => [key >> 16, (key >> 8) & 255, key & 255]))
  return Buffer.concat([
    SIGNATURE,
    chunk('IHDR', header),
    chunk('PLTE', colours),
    chunk('IDAT', deflateSync(rows, { level: 9, memLevel: 9 })),
    chunk('IEND', Buffer.alloc(0))
  ])
}

/** The most frequent colour of each small range, so that a gradient does not displace rare colours, such as text. */
function paletteOf(frequency: ReadonlyMap<number, number>): number[] {
  const ranges = new Map<number, { key: number; most: number; all: number }>()
  for (const [key, count] of frequency) {
    const range = ((key >> 19) << 10) | (((key >> 11) & 31) << 5) | ((key >> 3) & 31)
    const found = ranges.get(range) ?? { key, most: 0, all: 0 }
    found.all += count
    if (count > found.most) Object.assign(found, { key, most: count })
    ranges.set(range, found)
  }
  return [...ranges.values()]
    .toSorted((one, other) => other.all - one.all)
    .slice(0, COLOURS)
    .map(({ key }) => key)
}

function nearest(key: number, palette: readonly number[]): number {
  let found = 0
  let least = Number.POSITIVE_INFINITY
  palette.forEach((other, at) => {
    const distance =
      ((key >> 16) - (other >> 16)) ** 2 +
      (((key >> 8) & 255) - ((other >> 8) & 255)) ** 2 +
      ((key & 255) - (other & 255)) ** 2
    if (distance < least) [least, found] = [distance, at]
  })
  return found
}

function decode(png: Buffer) {
  const parts: Buffer[] = []
  let [width, height, size] = [0, 0, 0]
  for (let at = SIGNATURE.length; at < png.length; ) {
    const length = png.readUInt32BE(at)
    const type = png.toString('latin1', at + 4, at + 8)
    const body = png.subarray(at + 8, at + 8 + length)
    if (type === 'IHDR') {
      ;[width, height] = [body.readUInt32BE(0), body.readUInt32BE(4)]
      size = { 2: 3, 6: 4 }[body[9]!] ?? 0
      if (size === 0 || body[8] !== 8 || body[12] !== 0) throw new Error('only RGB and RGBA of 8 bits are read')
    } else if (type === 'IDAT') parts.push(body)
    at += length + 12
  }
  return { width, height, size, pixels: unfiltered(inflateSync(Buffer.concat(parts)), width * size, height, size) }
}

/** Undoes a row's filter: its bytes are differences to none, the left, the upper, their mean, or Paeth's predictor. */
function unfiltered(raw: Buffer, stride: number, height: number, size: number): Uint8Array {
  const out = new Uint8Array(stride * height)
  for (let y = 0; y < height; y++) {
    const filter = raw[y * (stride + 1)]!
    for (let x = 0; x < stride; x++) {
      const at = y * stride + x
      const left = x >= size ? out[at - size]! : 0
      const above = y > 0 ? out[at - stride]! : 0
      const corner = y > 0 && x >= size ? out[at - stride - size]! : 0
      out[at] =
        raw[y * (stride + 1) + 1 + x]! + [0, left, above, (left + above) >> 1, paeth(left, above, corner)][filter]!
    }
  }
  return out
}

function paeth(left: number, above: number, corner: number): number {
  const guess = left + above - corner
  const [a, b, c] = [Math.abs(guess - left), Math.abs(guess - above), Math.abs(guess - corner)]
  return a <= b && a <= c ? left : b <= c ? above : corner
}

function chunk(type: string, body: Buffer): Buffer {
  const typed = Buffer.concat([Buffer.from(type, 'latin1'), body])
  const out = Buffer.alloc(body.length + 12)
  out.writeUInt32BE(body.length, 0)
  typed.copy(out, 4)
  out.writeUInt32BE(crc32(typed), body.length + 8)
  return out
}
