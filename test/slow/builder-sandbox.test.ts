import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { chmod, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { drawAccount } from '../../integrations/builder/account.ts'
import { BuildError } from '../../integrations/builder/port.ts'
import { type Limits, openSandbox, type Sandbox } from '../../integrations/builder/sandbox.ts'
import { eventually } from '../support/eventually.ts'
import { scratchDirectory } from '../support/repository.ts'
import { stays } from '../support/stays.ts'

const MB = 1_048_576
const LIMITS: Limits = {
  seconds: 30,
  output: MB,
  memory: 512 * MB,
  disk: 64 * MB,
  spare: 1,
  processes: 64,
  grace: 200
}
const PATH = process.env.PATH!

/** Every test runs as a separate user, if possible, and as this process's user, where a mark identifies processes. */
const ways = process.geteuid?.() === 0 ? ['a user of its own', 'our own user'] : ['our own user']

interface Case {
  readonly sandbox: Sandbox
  readonly id: string
  said(): string
  /** Its running processes, as another process sees them. */
  left(): string[]
  shell(script: string, env?: Record<string, string>): ReturnType<Sandbox['run']>
  cancel(reason: Error): void
}

async function open(t: TestContext, way: string, limits: Partial<Limits> = {}): Promise<Case> {
  const directory = await scratchDirectory(t, 'rhone-sandbox-')
  const account = way === 'our own user' ? null : await drawAccount([])
  const id = crypto.randomUUID()
  const canceller = new AbortController()
  let said = ''
  const sandbox = openSandbox({
    id,
    directory,
    account,
    limits: { ...LIMITS, ...limits },
    signal: canceller.signal,
    say(text) {
      said += text
    },
    note(line) {
      said += line
    }
  })
  t.after(() => {
    sandbox.close()
    return rm(directory, { recursive: true, force: true })
  })
  // As in a workspace, but writable by all.
  await chmod(directory, 0o777)
  return {
    sandbox,
    id,
    said: () => said,
    left: () => readdirSync('/proc').filter(pid => /^\d+$/.test(pid) && isOf(pid, id)),
    shell: (script, env = {}) =>
      sandbox.run({ argv: ['/bin/sh', '-c', script], cwd: directory, env: { PATH, ...env } }),
    cancel: reason => canceller.abort(reason)
  }
}

function isOf(pid: string, id: string): boolean {
  try {
    return (
      readFileSync(`/proc/${pid}/environ`, 'latin1').includes(id) &&
      !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'))
    )
  } catch {
    return false
  }
}

const refuses = (pattern: RegExp) => (error: unknown) => {
  assert.ok(error instanceof BuildError, String(error))
  assert.match(error.message, pattern)
  return true
}

/** A detached process that ignores SIGTERM. */
const FUGITIVE = `trap '' TERM HUP INT; (setsid sh -c 'trap "" TERM HUP; (setsid sh -c "trap \\"\\" TERM; sleep 300; sleep 300" &) ; sleep 300' &) ; sleep 0.3`

for (const way of ways) {
  test(`as ${way}: a program's output, exit code and end are reported`, async t => {
    const { shell, said } = await open(t, way)
    const { code } = await shell('echo out; echo err >&2; exit 3')
    assert.equal(code, 3)
    assert.match(said(), /out/)
    assert.match(said(), /err/)
  })

  test(`as ${way}: a build ends with all the processes that it leaves behind`, async t => {
    const { shell, left } = await open(t, way)
    const { code } = await shell(FUGITIVE)
    assert.equal(code, 0)
    assert.deepEqual(left(), [])
  })

  test(`as ${way}: a build that ignores SIGTERM ends when it is cancelled, together with all its detached processes`, async t => {
    const { shell, left, said, cancel } = await open(t, way)
    const running = shell(`${FUGITIVE}; echo away; while :; do sleep 1; done`)
    await eventually(() => said().includes('away'))
    assert.ok(left().length >= 3, 'it runs')
    const reason = new Error('cancelled')
    cancel(reason)
    await assert.rejects(running, error => error === reason)
    assert.deepEqual(left(), [])
  })

  test(`as ${way}: a build that listens to SIGTERM may clean up`, async t => {
    const { shell, said, cancel } = await open(t, way, { grace: 5_000 })
    const running = shell('trap "echo tidied; exit" TERM; echo ready; while :; do sleep 0.1; done')
    await eventually(() => said().includes('ready'))
    cancel(new Error('cancelled'))
    await assert.rejects(running)
    assert.match(said(), /tidied/)
  })

  test(`as ${way}: a fork bomb is killed`, async t => {
    const { shell, left } = await open(t, way)
    // The system does not limit root, so the number is bounded for the machine's sake.
    if (way === 'our own user' && process.geteuid?.() === 0) {
      const many = shell('for i in $(seq 1 200); do sleep 300 & done; wait')
      await assert.rejects(many, refuses(/more than 64 processes/))
    } else {
      const bomb = shell('bomb() { bomb | bomb & }; bomb 2>/dev/null; sleep 1')
      await stays(() => left().length <= 64, 700)
      await bomb.catch(refuses(/more than 64 processes/))
    }
    assert.deepEqual(left(), [])
  })

  test(`as ${way}: a build that exhausts its memory is killed`, async t => {
    const { shell, left } = await open(t, way, { memory: 150 * MB })
    const hungry = shell(
      `exec '${process.execPath}' -e 'globalThis.kept = Buffer.alloc(400e6, 1); setInterval(() => {}, 1000)'`
    )
    await assert.rejects(hungry, refuses(/more than 150 MB of memory/))
    assert.deepEqual(left(), [])
  })

  test(`as ${way}: many files are detected, and a single file cannot grow beyond the limit`, async t => {
    const many = await open(t, way, { disk: 8 * MB })
    const filling = many.shell('i=0; while :; do i=$((i+1)); head -c 1000000 /dev/zero > file$i; sleep 0.02; done')
    await assert.rejects(filling, refuses(/more than 8 MB of disk space/))
    assert.deepEqual(many.left(), [])

    const one = await open(t, way, { disk: 8 * MB })
    const { code } = await one.shell('head -c 100000000 /dev/zero > file')
    assert.notEqual(code, 0)
  })
}

test('fast writes to the disk are detected at the end at the latest', async t => {
  const { shell } = await open(t, ways[0]!, { disk: 8 * MB })
  await assert.rejects(
    shell('for i in 1 2 3; do head -c 4000000 /dev/zero > file$i; done'),
    refuses(/8 MB of disk space/)
  )
})

test('a build stops before it fills the disk, and reports a full machine', async t => {
  const { shell } = await open(t, ways[0]!, { spare: Number.MAX_SAFE_INTEGER })
  await assert.rejects(shell('sleep 60'), refuses(/of free disk space: its operator must free some/))
})

test('a flooded build log is cut with a notice, and does not block this process', async t => {
  const { shell, said } = await open(t, ways[0]!, { output: 50_000, seconds: 2 })
  let turns = 0
  const turning = setInterval(() => (turns += 1), 10)
  t.after(() => clearInterval(turning))
  await assert.rejects(shell('yes "a line of a flood"'), refuses(/longer than 2 seconds/))
  assert.ok(said().length < 200_000, `${said().length} characters`)
  assert.equal(said().split('the rest is dropped').length, 2)
  assert.ok(turns > 50, `only ${turns} turns`)
})

test('a build without end is killed at its time limit, and nothing starts after it', async t => {
  const { shell, left } = await open(t, ways[0]!, { seconds: 1 })
  await assert.rejects(shell('sleep 300'), refuses(/longer than 1 second/))
  await assert.rejects(shell('true'), refuses(/longer than 1 second/))
  assert.deepEqual(left(), [])
})

test('characters that are split between chunks arrive whole', async t => {
  const { shell, said } = await open(t, ways[0]!)
  await shell(String.raw`printf '\303'; sleep 0.1; printf '\251'`)
  assert.equal(said(), 'é')
})

test('a build program sees none of our environment variables', async t => {
  process.env.RHONE_TEST_SECRET = 'ours'
  t.after(() => delete process.env.RHONE_TEST_SECRET)
  const { shell, said } = await open(t, ways[0]!)
  await shell('env', { GIVEN: 'yes' })
  assert.match(said(), /GIVEN=yes/)
  assert.doesNotMatch(said(), /ours|RHONE_TEST/)
})

test('variables that are too long fail the build, without showing their values', async t => {
  const { shell } = await open(t, ways[0]!)
  await assert.rejects(shell('true', { BIG: 'secret'.repeat(2_000_000) }), (error: Error) => {
    assert.ok(error instanceof BuildError)
    assert.doesNotMatch(error.message, /secret/)
    return true
  })
})

test('every build has its own user', { skip: ways.length === 1 && 'only root can be others' }, async t => {
  const { shell, said } = await open(t, ways[0]!)
  await shell('id -u; id -G; cat /proc/self/status | grep -i groups')
  const [uid, groups] = said().split('\n')
  assert.ok(Number(uid) >= 61_184)
  assert.equal(groups, uid)
  const { shell: prying, sandbox } = await open(t, ways[0]!)
  const secret = join(sandbox.directory, 'keys.json')
  await writeFile(secret, 'our keys', { mode: 0o600 })
  assert.notEqual((await prying(`cat '${secret}' /proc/${process.pid}/environ`)).code, 0)
})
