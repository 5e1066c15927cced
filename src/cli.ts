#!/usr/bin/env node
import { main } from './cli/main.ts'
import { readEnvironment } from './config.ts'

// `rhone ... | head` has read what it wanted.
for (const stream of [process.stdout, process.stderr])
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
  })

process.exitCode = await main(process.argv.slice(2), {
  stdout: text => process.stdout.write(text),
  stderr: text => process.stderr.write(text),
  environment: readEnvironment
})
