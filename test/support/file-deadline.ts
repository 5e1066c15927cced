/**
 * Preloaded into the process of every test file. What a test has left behind, such as a timer, a socket or a loop, would
 * keep the process and so the whole run for ever: here the file fails instead, and says what kept it.
 */
const seconds = Number(process.env.RHONE_TEST_DEADLINE ?? 240)

setTimeout(() => {
  const kept = process.getActiveResourcesInfo().join(', ')
  console.error(`${process.argv[1]} has not ended after ${seconds} s; still there: ${kept}`)
  process.exit(1)
}, seconds * 1_000).unref()
