import type { LogDestination } from '../../plugins/logging/log-destination.ts'

/** Number of characters that makes a message worth its cost; the primary handles it as one line. */
const MESSAGE_CHARS = 16 * 1024
/** How long a line may wait to share a message with others, in milliseconds. */
const RELAY_INTERVAL = 100

/**
 * Sends a worker's log lines to the primary, which alone writes them: two threads writing to one pipe would interleave
 * their lines.
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
