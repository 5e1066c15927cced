import type { LogDestination } from '../../plugins/logging/log-destination.ts'

/** A message of this many characters is worth its cost; the primary takes it as one line. */
const MESSAGE_CHARS = 16 * 1024
/** How long a line may wait for others to share its message, in milliseconds. */
const RELAY_INTERVAL = 100

/**
 * Hands the log lines of a worker to the primary, which is the only one to write: two threads that write to one pipe
 * would cut into each other's lines.
 */
export function relayLines(send: (lines: string) => void): LogDestination {
  let lines = ''
  const timer = setInterval(relay, RELAY_INTERVAL).unref()

  function relay(): void {
    if (lines === '') return
    send(lines)
    lines = ''
  }
  return {
    write(line) {
      lines += line
      if (lines.length >= MESSAGE_CHARS) relay()
    },
    flushSync: relay,
    close() {
      clearInterval(timer)
      relay()
    }
  }
}
