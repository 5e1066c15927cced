const isSlowRun = process.env.RHONE_TEST_THOROUGH === '1'

/**
 * Number of property runs, rounds or clients of a test: few in `npm test`, many in `npm run test:slow`, which runs
 * every file that imports this once more.
 */
export function thoroughly(few: number, many: number): number {
  return isSlowRun ? many : few
}
