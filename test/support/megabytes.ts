/**
 * How many megabytes a test writes to which only the amount matters: few, unless `RHONE_TEST_MEGABYTES` asks for the
 * size of an installation.
 */
export function megabytes(few: number): number {
  return Number(process.env.RHONE_TEST_MEGABYTES ?? few)
}
