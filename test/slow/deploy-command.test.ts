import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import { type AddressInfo, connect, createServer } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { openApp } from '../support/deployed-app.ts'
import { eventually } from '../support/eventually.ts'
import { folderOf, greeting, newPerson, type Person, rhone } from '../support/people.ts'
import { testRepository } from '../support/pushed-repository.ts'

/** A proxy to a server that forwards nothing more after a number of bytes, until the connection is cut. */
async function narrowRoad(t: { after(fn: () => unknown): void }, url: string, most: number) {
  const { promise: half, resolve } = Promise.withResolvers<void>()
  let passed = 0
  const road = createServer(near => {
    const far = connect(Number(new URL(url).port), '127.0.0.1')
    for (const [socket, other] of [
      [near, far],
      [far, near]
    ] as const)
      socket.on('error', () => {}).on('close', () => other.destroy())
    far.pipe(near)
    near.on('data', chunk => {
      passed += chunk.length
      if (passed > most) resolve()
      else far.write(chunk)
    })
  }).listen(0, '127.0.0.1')
  t.after(() => road.close())
  await once(road, 'listening')
  return { port: (road.address() as AddressInfo).port, half }
}

describe('rhone deploy', () => {
  let person: Person
  const ended: (() => unknown)[] = []

  before(async () => {
    person = await newPerson({ after: fn => void ended.push(fn) })
  })
  after(async () => {
    for (const end of ended) await end()
  })

  it('a deploy that is killed while it uploads leaves nothing half done, here or there', async t => {
    const folder = await folderOf(t, {
      ...greeting('whole'),
      '.rhone.json': '{}',
      'big.txt': randomBytes(4_000_000).toString('hex')
    })
    await person.succeed('apps create cut-short', folder)
    const temporary = await folderOf(t)
    const { port, half } = await narrowRoad(t, person.url, 1_000_000)
    const cli = spawn(process.execPath, [join(import.meta.dirname, '../../src/cli.ts'), 'deploy', 'cut-short'], {
      cwd: folder,
      env: { ...process.env, ...person.env, RHONE_URL: `http://127.0.0.1:${port}`, TMPDIR: temporary },
      stdio: 'ignore'
    })
    t.after(() => cli.kill('SIGKILL'))
    await half
    cli.kill('SIGKILL')
    await once(cli, 'exit')
    assert.deepEqual(await readdir(temporary), [])
    assert.deepEqual(await person.data('deployments list cut-short', folder), [])
    const { status, url: opened } = await person.data('deploy cut-short', folder)
    assert.equal(status, 'live')
    assert.equal((await openApp(opened)).text, 'whole undefined')
  })

  it('the last upload is built again when only the settings have changed', async t => {
    const folder = await folderOf(t, greeting('kept'))
    const { id } = await person.data('deploy cli-again --create', folder)
    const { status, headers } = await fetch(`${person.url}/api/v1/apps/cli-again/deploy`, {
      method: 'POST',
      headers: { authorization: `Bearer ${person.env.RHONE_TOKEN}` }
    })
    assert.equal(status, 202)
    await eventually(async () => {
      const reply = await fetch(new URL(headers.get('location')!, person.url), {
        headers: { authorization: `Bearer ${person.env.RHONE_TOKEN}` }
      })
      const again = (await reply.json()) as { status: string; id: string; sourceId: string }
      assert.notEqual(again.id, id)
      return again.status === 'live' && again.sourceId !== null
    })
  })

  it('a git repository and a commit can be deployed, but two sources are wrong usage', async t => {
    const repository = await testRepository(t)
    const { sha } = await repository.push(greeting('from git'), 'First')
    await repository.push(greeting('newer'), 'Second')
    const folder = await folderOf(t)
    const git = `file://${repository.directory}`
    const newest = await person.data(`deploy cli-git --create --git ${git}`, folder)
    assert.equal((await openApp(newest.url)).text, 'newer undefined')
    const older = await person.data(`deploy cli-git --commit ${sha} --any-commit`, folder).catch(() => null)
    if (older !== null) assert.equal(older.commitSha, sha)
    for (const words of ['deploy x --path . --git https://a.example/b.git', 'deploy x --image a@b --commit c'])
      assert.equal((await rhone(words, person.env, folder)).code, 2)
  })
})
