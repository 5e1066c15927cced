#!/usr/bin/env node
import { once } from 'node:events'
import { resolve } from 'node:path'
import { text } from 'node:stream/consumers'
import { main } from './cli/main.ts'
import { readEnvironment, readShell } from './config/index.ts'

/** Rhone's own folder when it runs from a clone: a `.env` there is its own. */
const home = resolve(import.meta.dirname, '..')
const { folder, colour } = readShell()

// `rhone ... | head` closes the pipe when it has read enough.
for (const stream of [process.stdout, process.stderr]) stream.on('error', ignoreBrokenPipe)

process.exitCode = await main(process.argv.slice(2), {
  async stdout(text) {
    if (!process.stdout.write(text)) await once(process.stdout, 'drain').catch(ignoreBrokenPipe)
  },
  stderr: text => process.stderr.write(text),
  environment: forDeployers => readEnvironment(!forDeployers || process.cwd() === home),
  folder,
  terminal: {
    out: process.stdout.isTTY === true,
    err: process.stderr.isTTY === true,
    in: process.stdin.isTTY === true,
    colour,
    columns: process.stderr.columns ?? 80
  },
  read: () => text(process.stdin),
  interruption() {
    const interrupted = new AbortController()
    process.once('SIGINT', () => interrupted.abort())
    return interrupted.signal
  }
})

function ignoreBrokenPipe(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE') throw error
}
