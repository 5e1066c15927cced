/** A field of a protobuf message: a number, or the bytes of a text or of another message. */
type Field = bigint | Buffer

/** The fields of a message by their numbers. */
export type Message = ReadonlyMap<number, readonly Field[]>

/** Reads one level of a protobuf message. @throws RangeError if it is cut off */
export function readMessage(bytes: Buffer): Message {
  const fields = new Map<number, Field[]>()
  let at = 0
  while (at < bytes.length) {
    const key = varint()
    const number = Number(key >> 3n)
    const list = fields.get(number) ?? []
    fields.set(number, list)
    list.push(read(Number(key & 7n)))
  }
  return fields

  function varint(): bigint {
    let value = 0n
    for (let shift = 0n; ; shift += 7n) {
      const byte = BigInt(bytes.readUInt8(at++))
      value |= (byte & 127n) << shift
      if (byte < 128n) return value
    }
  }

  function read(wireType: number): Field {
    if (wireType === 0) return varint()
    if (wireType === 1) return skip(8).readBigUInt64LE()
    if (wireType === 5) return BigInt(skip(4).readUInt32LE())
    if (wireType !== 2) throw new RangeError(`wire type ${wireType}`)
    return skip(Number(varint()))
  }

  function skip(length: number): Buffer {
    if (at + length > bytes.length) throw new RangeError('a field is cut off')
    at += length
    return bytes.subarray(at - length, at)
  }
}

export const messages = (message: Message, number: number): Message[] => bytesOf(message, number).map(readMessage)
export const bytesOf = (message: Message, number: number): Buffer[] => (message.get(number) ?? []) as Buffer[]
export const textOf = (message: Message, number: number): string => bytesOf(message, number)[0]?.toString('utf8') ?? ''
export const hexOf = (message: Message, number: number): string => bytesOf(message, number)[0]?.toString('hex') ?? ''
export const numberOf = (message: Message, number: number): number => Number(message.get(number)?.[0] ?? 0)
