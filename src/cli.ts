#!/usr/bin/env node
import { once } from 'node:events'
import { main } from './cli/main.ts'
import { readEnvironment } from './config/index.ts'

// `rhone ... | head` has read what it wanted.
for (const stream of [process.stdout, process.stderr]) stream.on('error', ignoreBrokenPipe)

process.exitCode = await main(process.argv.slice(2), {
  async stdout(text) {
    if (!process.stdout.write(text)) await once(process.stdout, 'drain').catch(ignoreBrokenPipe)
  },
  stderr: text => process.stderr.write(text),
  environment: readEnvironment
})

function ignoreBrokenPipe(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE') throw error
}
