import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'

/** The lowest port to draw, and the first one that systems use for outgoing connections. */
const PORTS = { from: 20_000, until: 32_768 }
const ATTEMPTS = 50

/**
 * Draws a TCP port on loopback for a server that starts next. A port chosen by the system may be reused meanwhile for an
 * outgoing connection of another test; these ports are not.
 *
 * @throws Error if every drawn port is taken
 */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const port = randomInt(PORTS.from, PORTS.until)
    if (await isFree(port)) return port
  }
  throw new Error(`${ATTEMPTS} ports between ${PORTS.from} and ${PORTS.until} were drawn, and all are taken`)
}

async function isFree(port: number): Promise<boolean> {
  const probe = createServer().listen(port, '127.0.0.1')
  try {
    await once(probe, 'listening')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return false
    throw error
  }
  probe.close()
  await once(probe, 'close')
  return true
}
