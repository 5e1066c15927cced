const isSlowRun = process.env.RHONE_TEST_THOROUGH === '1'

/**
 * How many draws, rounds or clients a test takes: few in `npm test`, many in `npm run test:slow`, which runs every file
 * that imports this once more.
 */
export function thoroughly(few: number, many: number): number {
  return isSlowRun ? many : few
}
