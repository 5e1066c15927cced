import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { test } from 'node:test'
import { promisify } from 'node:util'

const PROCESSES = new URL('../../plugins/lib/processes.ts', import.meta.url).href

test('a process without file descriptors still knows the running processes', async () => {
  const program = `
    import { openSync } from 'node:fs'
    import { identify, isRunning } from ${JSON.stringify(PROCESSES)}
    const [ours, gone] = [identify(process.pid), { pid: 2 ** 22 - 1, startedAt: 'never' }]
    let code
    try { for (;;) openSync('/dev/null') } catch (error) { code = error.code }
    console.log(code, isRunning(ours), isRunning(gone))`
  const { stdout } = await promisify(execFile)('/bin/sh', [
    '-c',
    'ulimit -n 64; exec "$@"',
    'sh',
    process.execPath,
    '--disable-warning=ExperimentalWarning',
    '--input-type=module',
    '-e',
    program
  ])
  assert.equal(stdout.trim(), 'EMFILE true false')
})
