/**
 * Megabytes written by tests that depend on the amount of data: few, unless `RHONE_TEST_MEGABYTES` is set to the size
 * of a real installation.
 */
export function megabytes(few: number): number {
  return Number(process.env.RHONE_TEST_MEGABYTES ?? few)
}
