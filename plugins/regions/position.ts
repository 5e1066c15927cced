import { createSigner, type Keyring } from '../lib/signer.ts'

/** A position in the log of a database. */
export interface Position {
  readonly timeline: number
  readonly lsn: bigint
}

export interface PositionTokens {
  make(position: Position): string
  /** Null if there is no token, or if neither this server nor one with the same keys made it. */
  read(token: string | undefined): Position | null
}

const FORM = /^(\d{1,10})-([0-9a-f]{1,16})\.(.{1,200})$/

/** Signs positions, so that no client can make every read wait, or fake a promotion. */
export function positionTokens(keys: Keyring): PositionTokens {
  const signer = createSigner('rhone database position', keys)
  return {
    make({ timeline, lsn }) {
      const text = `${timeline}-${lsn.toString(16)}`
      return `${text}.${signer.sign(text)}`
    },
    read(token) {
      const [, timeline, lsn, signature] = FORM.exec(token ?? '') ?? []
      if (timeline === undefined || !signer.verify(`${timeline}-${lsn}`, signature!)) return null
      return { timeline: Number(timeline), lsn: BigInt(`0x${lsn}`) }
    }
  }
}
