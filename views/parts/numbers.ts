const formats = new Map<number, Intl.NumberFormat>()

/**
 * A number in English, with so many decimals at most. Formats are made when they are first needed: the first of a process
 * loads data that would take 30 ms of its start.
 */
export function numberOf(value: number, decimals = 1): string {
  const format = formats.get(decimals) ?? new Intl.NumberFormat('en', { maximumFractionDigits: decimals })
  formats.set(decimals, format)
  return format.format(value)
}
