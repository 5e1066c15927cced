#!/usr/bin/env node
import { main } from './cli/main.ts'
import { readEnvironment } from './config.ts'

process.exitCode = await main(process.argv.slice(2), {
  stdout: text => process.stdout.write(text),
  stderr: text => process.stderr.write(text),
  environment: readEnvironment
})
