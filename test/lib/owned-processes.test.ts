import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { type TestContext, test } from 'node:test'
import { type Account, OwnedProcesses } from '../../plugins/lib/owned-processes.ts'
import { readProcessTable } from '../../plugins/lib/process-table.ts'
import { identify } from '../../plugins/lib/processes.ts'

const isRoot = process.geteuid?.() === 0
const account: Account = { uid: 60_201, gid: 60_201 }
const neighbour: Account = { uid: 60_202, gid: 60_202 }

interface Started {
  readonly child: ChildProcess
  readonly mark: string
}

/** A shell that runs `script` as the leader of a session, and its first output. */
async function start(t: TestContext, script: string, who: Account | null = null): Promise<Started & { said: string }> {
  const mark = `RHONE_TEST_OWNER=${randomUUID()}`
  const [name = '', value = ''] = mark.split('=')
  const child = spawn('/bin/sh', ['-c', script], {
    cwd: '/',
    detached: true,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { PATH: process.env.PATH, [name]: value },
    ...who
  })
  t.after(() => child.kill('SIGKILL'))
  const [said] = await once(child.stdout!, 'data')
  return { child, mark, said: String(said).trim() }
}

/** A child with its own session, an empty environment and no parent, which ignores SIGTERM. */
const ESCAPE = `env -i setsid /bin/sh -c 'trap "" TERM; echo $$; while :; do sleep 1; done' &`

test('a process that left its session, environment and parent is killed with its user', {
  skip: !isRoot && 'only root starts processes as another user'
}, async t => {
  const { child, mark, said } = await start(t, `(${ESCAPE}); exec sleep 60`, account)
  const owned = new OwnedProcesses({ account, mark })
  assert.equal(
    owned.members().some(({ pid }) => pid === Number(said)),
    true
  )
  const exited = once(child, 'exit')
  await owned.end(0)
  assert.equal(identify(Number(said)), null)
  assert.deepEqual(owned.members(), [])
  await exited
})

test('a fork bomb is killed through its user', {
  skip: !isRoot && 'only root starts processes as another user'
}, async t => {
  const bomb =
    'ulimit -u 60 2>/dev/null || ulimit -p 60; echo ready; f() { f & f & sleep 0.01; }; while :; do f 2>/dev/null; done'
  const { mark } = await start(t, bomb, account)
  const owned = new OwnedProcesses({ account, mark })
  await owned.end(0)
  assert.deepEqual(owned.members(), [])
})

test('a process of another release of the same user is left alone, and a stray one is killed with the first release to end', {
  skip: !isRoot && 'only root starts processes as another user'
}, async t => {
  const one = await start(t, `(${ESCAPE}); exec sleep 60`, account)
  const two = await start(t, 'echo ready; exec sleep 60', account)
  const foreign = await start(t, 'echo ready; exec sleep 60', neighbour)
  const second: OwnedProcesses = new OwnedProcesses({ account, mark: two.mark })
  second.add(two.child.pid!)
  const first = new OwnedProcesses({ account, mark: one.mark, others: () => [second] })
  first.add(one.child.pid!)
  await first.end(0)
  assert.equal(identify(Number(one.said)), null)
  assert.equal(identify(one.child.pid!), null)
  assert.deepEqual(
    second.members().map(({ pid }) => pid),
    [two.child.pid]
  )
  assert.ok(identify(foreign.child.pid!))
  await second.end(0)
  assert.equal(identify(two.child.pid!), null)
})

test('without a dedicated user, a process that left its session and its parent is found by its mark', async t => {
  const { child, mark, said } = await start(t, `(setsid /bin/sh -c 'echo $$; exec sleep 60' &); exec sleep 60`)
  const owned = new OwnedProcesses({ account: null, mark })
  owned.add(child.pid!)
  await owned.end(0)
  assert.equal(identify(Number(said)), null)
  assert.equal(identify(child.pid!), null)
})

test('without a dedicated user, a child that was seen once is still recognised after it removed every trace', async t => {
  const script = `env -i setsid /bin/sh -c 'echo $$; exec sleep 60' & read line; exit`
  const mark = `RHONE_TEST_OWNER=${randomUUID()}`
  const child = spawn('/bin/sh', ['-c', script], { cwd: '/', detached: true, stdio: ['pipe', 'pipe', 'inherit'] })
  const pid = Number(String((await once(child.stdout!, 'data'))[0]))
  t.after(() => child.kill('SIGKILL'))
  const owned = new OwnedProcesses({ account: null, mark })
  owned.add(child.pid!)
  assert.deepEqual(
    owned
      .members()
      .map(entry => entry.pid)
      .sort(),
    [child.pid!, pid].sort()
  )
  child.stdin!.end('\n')
  await once(child, 'exit')
  assert.deepEqual(
    owned.members().map(entry => entry.pid),
    [pid]
  )
  await owned.end(0)
  assert.equal(identify(pid), null)
})

test('processes that end when asked are not killed, and those that do not are', async t => {
  const polite = await start(t, `trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done`)
  const owned = new OwnedProcesses({ account: null, mark: polite.mark })
  const exited = once(polite.child, 'exit')
  await owned.end(10_000)
  assert.deepEqual(await exited, [7, null])

  const stubborn = await start(t, `trap '' TERM; echo ready; while :; do sleep 0.05; done`)
  const killed = once(stubborn.child, 'exit')
  await new OwnedProcesses({ account: null, mark: stubborn.mark }).end(50)
  assert.deepEqual(await killed, [null, 'SIGKILL'])
})

test('an ended session does not claim a later process with the same id', async t => {
  const { child } = await start(t, 'echo ready; exec sleep 60')
  const owned = new OwnedProcesses({ account: null, mark: 'RHONE_TEST_OWNER=nobody' })
  owned.add(child.pid!)
  const entry = owned.members()[0]!
  const later = { ...entry, startedAt: `${Number(entry.startedAt) + 1}` }
  assert.deepEqual(owned.members([later]), [])
  assert.deepEqual(owned.members([entry]), [], 'and it stays removed')
})

test('usage counts processes, their threads and their memory', async t => {
  const { child, mark } = await start(
    t,
    `exec ${process.execPath} -e 'const a = Buffer.alloc(64e6, 1); console.log(a.length)
    setInterval(() => a[0]++, 1000)'`
  )
  const owned = new OwnedProcesses({ account: null, mark })
  const { tasks, memory, cpu } = owned.usage()
  assert.ok(tasks > 4 && memory > 64e6 && cpu > 0, JSON.stringify({ tasks, memory, cpu }))
  assert.ok(readProcessTable().some(({ pid }) => pid === child.pid))
  await owned.end(0)
})
