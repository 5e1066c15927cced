/** A token bucket as configured: it holds at most `burst` tokens and gains `ratePerSecond` of them. */
export interface Rate {
  readonly ratePerSecond: number
  readonly burst: number
}

const SECONDS = { s: 1, m: 60, h: 3600, d: 86_400 } as const

/**
 * Parses `rate/unit:burst`, as in `100/s:200` or `10/m:5`; the units are s, m, h and d.
 *
 * @throws Error that quotes the text and says which part is wrong
 */
export function parseRate(text: string): Rate {
  const parts = /^(\d+(?:\.\d+)?)\/([smhd]):(\d+)$/.exec(text)
  if (parts === null) throw new Error(`"${text}" is not a rate; write rate/unit:burst, as in 100/s:200 or 10/m:5`)

  const ratePerSecond = Number(parts[1]) / SECONDS[parts[2] as keyof typeof SECONDS]
  const burst = Number(parts[3])
  if (ratePerSecond === 0) throw new Error(`"${text}" would refuse forever: its rate must be above 0`)
  if (burst === 0) throw new Error(`"${text}" would refuse everything: its burst must be 1 or more`)
  return { ratePerSecond, burst }
}
