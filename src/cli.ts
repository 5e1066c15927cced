#!/usr/bin/env node
import { once } from 'node:events'
import { main } from './cli/main.ts'
import { readEnvironment } from './config.ts'

process.exitCode = await main(process.argv.slice(2), {
  async stdout(text) {
    if (!process.stdout.write(text)) await once(process.stdout, 'drain')
  },
  stderr: text => process.stderr.write(text),
  environment: readEnvironment
})
