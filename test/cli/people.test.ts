import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { after, before, describe, it } from 'node:test'
import { promisify } from 'node:util'
import { pack } from '../../src/cli/pack.ts'
import { withoutControls } from '../../src/cli/terminal.ts'
import type { Variables } from '../../src/config/index.ts'
import { openApp } from '../support/deployed-app.ts'
import { eventually } from '../support/eventually.ts'
import { freePort } from '../support/free-port.ts'
import { folderOf, greeting, newPerson, type Person, rhone } from '../support/people.ts'

const run = promisify(execFile)

describe('against a server', () => {
  let env: Variables
  let url: string
  let succeed: Person['succeed']
  let data: Person['data']
  const ended: (() => unknown)[] = []

  before(async () => {
    const person = await newPerson({ after: fn => void ended.push(fn) })
    ;({ env, url, succeed, data } = person)
  })
  after(async () => {
    for (const end of ended) await end()
  })

  it('a folder is deployed, changed, rolled back, and its app read, opened and deleted', async t => {
    const folder = await folderOf(t, { ...greeting('one'), '.env': 'SECRET=1', 'node_modules/x/index.js': '' })
    const first = await succeed('deploy cli-shop --create', folder)
    assert.match(first.stderr, /Created the app cli-shop\nPacked 2 files/)
    assert.match(first.stderr, /Unpacked 2 files/)
    assert.equal((await openApp(first.stdout.trim())).text, 'one undefined')
    assert.deepEqual(JSON.parse(await readFile(join(folder, '.rhone.json'), 'utf8')), { app: 'cli-shop', url })

    await succeed('env set GREETING=hi', folder)
    assert.deepEqual(
      (await data('env list', folder)).map(({ key }: { key: string }) => key),
      ['GREETING']
    )
    await writeFile(join(folder, 'server.js'), greeting('two')['server.js'])
    const second = await data('deploy', folder)
    assert.deepEqual([second.status, second.trigger], ['live', 'cli'])
    assert.equal((await openApp(second.url)).text, 'two hi')

    await succeed('rollback', folder)
    assert.equal((await openApp(second.url)).text, 'one hi')
    const listed = await succeed('deployments list', folder)
    assert.match(listed.stdout, /^ID +STATUS.*\n[0-9a-f]{8} +live +.*rollback.*\n.*superseded.*\n.*superseded/)
    const [newest] = await data('deployments list --limit 1', folder)
    assert.match(
      (await succeed(`deployments show ${newest.id.slice(0, 8)}`, folder)).stdout,
      /^deployment +[0-9a-f-]{36}$/m
    )
    assert.equal((await succeed('open', folder)).stdout.trim(), second.url)
    await eventually(async () => (await succeed('logs', folder)).stdout.includes('listening'))

    const wrong = await rhone('apps delete cli-shop --confirm shop', env, folder)
    assert.deepEqual([wrong.code, /nothing was deleted/.test(wrong.stderr)], [1, true])
    await succeed('apps delete cli-shop --confirm cli-shop', folder)
    assert.equal((await rhone('apps show', env, folder)).code, 1)
  })

  it('a folder that is linked to no app gives its name to a new one, if that is wanted', async t => {
    const folder = join(await folderOf(t), 'My Notes')
    await mkdir(folder)
    await writeFile(join(folder, 'index.html'), 'notes')
    const refused = await rhone('deploy', env, folder)
    assert.deepEqual([refused.code, /rhone deploy --create/.test(refused.stderr)], [2, true])
    await succeed('deploy --create --detach', folder)
    assert.deepEqual(JSON.parse(await readFile(join(folder, '.rhone.json'), 'utf8')), { app: 'my-notes', url })
  })

  it('a failed build exits with 1, and prints the reason and the last output', async t => {
    const folder = await folderOf(t, {
      'package.json': '{"scripts":{"build":"echo no such thing; exit 3","start":"node ."}}',
      'index.js': ''
    })
    const { code, stdout, stderr } = await rhone('deploy cli-broken --create', env, folder)
    assert.equal(code, 1)
    assert.equal(stdout, '')
    assert.match(stderr, /no such thing/)
    assert.match(stderr, /build failed: npm run build failed with exit code 3/)
  })

  it('Ctrl-C stops watching, and says that the deployment continues and how to cancel it', async t => {
    const folder = await folderOf(t, {
      ...greeting('slow'),
      'package.json': '{"scripts":{"build":"sleep 60","start":"node server.js"}}'
    })
    const interrupted = new AbortController()
    let said = ''
    const result = await rhone('deploy cli-slow --create', env, folder, {
      interruption: () => interrupted.signal,
      stderr: text => {
        if (text.includes('npm run build')) interrupted.abort()
        said += text
      }
    })
    assert.equal(result.code, 1)
    const [, id] = /goes on\.\n.*deployments show (\w+).*\n.*deployments cancel (\w+) --app cli-slow/.exec(said) ?? []
    assert.match((await succeed(`deployments cancel ${id} --app cli-slow`, folder)).stdout, /^status +cancelled$/m)
  })
  it('apps, teams and env vars can be created, listed and changed', async t => {
    const folder = await folderOf(t, {
      'vars.env': '# comment\nONE=1\nTWO="a b"\nexport THREE=3\n',
      'bad.env': 'lower=1'
    })
    assert.match((await succeed('teams create Rivers --slug rivers', folder)).stdout, /^team +rivers$/m)
    await succeed('apps create Delta --slug cli-delta --team rivers --branch release', folder)
    const other = await succeed('apps create cli-delta --team rivers', folder)
    assert.match(other.stderr, /Its name in URLs is cli-delta-\w{4}: cli-delta is taken or reserved/)
    assert.match((await succeed('apps list --team rivers', folder)).stdout, /^cli-delta +Delta +uploads/m)
    await succeed('apps update cli-delta --name Mouth --auto-deploy off', folder)
    const app = await data('apps show cli-delta', folder)
    assert.deepEqual([app.name, app.autoDeploy, app.githubBranch], ['Mouth', false, 'release'])
    const healthy = 'apps update cli-delta --health-path /healthz --health-grace 120 --port 3000'
    assert.match((await succeed(healthy, folder)).stderr, /next deployment: rhone deploy cli-delta/)
    const health = ({ healthPath, healthGrace, port }: Record<string, unknown>) => [healthPath, healthGrace, port]
    assert.deepEqual(health(await data('apps show cli-delta', folder)), ['/healthz', 120, 3000])
    await succeed('apps update cli-delta --health-path none --health-grace none --port none', folder)
    assert.deepEqual(health(await data('apps show cli-delta', folder)), [null, null, null])
    assert.match(
      (await succeed('env import cli-delta vars.env', folder)).stderr,
      /takes? effect with the next deployment/
    )
    await succeed('env set cli-delta FOUR=- FIVE=a=b', folder, { read: async () => 'from stdin\n' })
    await succeed('env unset cli-delta TWO', folder)
    const keys = (await data('env list cli-delta', folder)).map(({ key }: { key: string }) => key).toSorted()
    assert.deepEqual(keys, ['FIVE', 'FOUR', 'ONE', 'THREE'])
    assert.match((await rhone('env import cli-delta bad.env', env, folder)).stderr, /nothing was set: lower/)
    assert.match((await succeed('apps --team rivers', folder)).stdout, /cli-delta/, 'a group alone means its list')
    assert.equal((await data('regions set fra --app cli-delta', folder)).region, 'fra')
    assert.match((await succeed('regions show cli-delta', folder)).stdout, /^fra .*cli-delta runs here$/m)
    const nowhere = await rhone('regions set xyz --app cli-delta', env, folder)
    assert.deepEqual([nowhere.code, /unknown region "xyz"; rhone regions show/.test(nowhere.stderr)], [1, true])
    assert.match((await succeed('teams members rivers', folder)).stdout, /operator +owner/)
    assert.match((await succeed('teams list', folder)).stdout, /rivers +Rivers/)
    assert.match((await succeed('teams invite rivers ada@example.com', folder)).stdout, /ada@example.com/)
    assert.match((await succeed('whoami', folder)).stdout, new RegExp(`operator[^]*${url}`))
  })

  it('wrong usage has its own exit code, and messages name what is missing and what to do next', async t => {
    const folder = await folderOf(t)
    const expected: [string, number, RegExp][] = [
      ['deploy', 2, /no app given/],
      ['deploy nowhere', 1, /app nowhere not found.*--create/],
      ['env set hello', 2, /KEY=value is missing/],
      ['env set hello lower=1', 2, /"lower" cannot be the name/],
      ['logs hello --level loud', 2, /"loud" is not one of debug/],
      ['logs hello --since soon', 2, /"soon" is not a time/],
      ['deployments list hello --limit 0', 2, /not a number from 1 to 200/],
      ['apps update hello', 2, /nothing to change/],
      ['apps update hello --health-grace 0', 2, /--health-grace: "0" must be a whole number from 1 to 300, or none/],
      ['apps show nowhere', 1, /app not found.*; rhone apps list shows your apps/],
      ['teams members nowhere', 1, /team not found.*; rhone teams list shows your teams/],
      ['domains add example.com', 1, /this version of Rhone has no domains add/],
      ['run hello', 1, /this version of Rhone has no run/],
      [`apps list --url http://127.0.0.1:${await freePort()}`, 1, /connection refused\. Start it \(npm start\)/],
      ['apps list --token rhone_x', 1, /; log in with: rhone login/],
      ['completion powershell', 2, /not one of bash, zsh, fish/],
      ['deploment list', 2, /did you mean "deployments list"\?/],
      ['teams invite a b --role king', 2, /must be member or admin/]
    ]
    for (const [words, code, why] of expected) {
      const result = await rhone(words, env, folder)
      assert.equal(result.code, code, `${words}: ${result.stderr}`)
      assert.match(result.stderr, why)
    }
  })

  it('login stores a token for its server only, readable only by its user, and logout removes it', async t => {
    const place = await folderOf(t)
    const folder = await folderOf(t)
    const variables = { HOME: place, DATA_DIR: folder }
    const read = async () => `${env.RHONE_TOKEN}\n`
    const loggedIn = await rhone(`login --url ${url} --token -`, variables, folder, { read })
    assert.equal(loggedIn.code, 0, loggedIn.stderr)
    const kept = join(place, '.config/rhone/credentials.json')
    assert.equal((await stat(kept)).mode & 0o777, 0o600)
    assert.match((await rhone('whoami', variables, folder)).stdout, /operator/)
    assert.match(
      (await rhone('whoami', { ...variables, HOME: '', XDG_CONFIG_HOME: join(place, '.config') }, folder)).stdout,
      /operator/
    )

    await chmod(kept, 0o644)
    assert.match((await rhone('whoami', variables, folder)).stderr, /readable by other users/)
    await chmod(kept, 0o600)
    assert.match((await rhone('login --token rhone_wrong', variables, folder)).stderr, /rejects this token/)
    assert.equal((await rhone('logout', variables, folder)).code, 0)
    assert.equal((await rhone('logout', variables, folder)).code, 1)
    assert.doesNotMatch(await readFile(kept, 'utf8'), /rhone_/)
  })
})

describe('a folder of another person', () => {
  it('cannot make the command send a token to its server', async t => {
    const seen: (string | undefined)[] = []
    const evil = createServer((request, reply) => {
      seen.push(request.headers.authorization)
      reply.end('{}')
    }).listen(0, '127.0.0.1')
    t.after(() => evil.close())
    await once(evil, 'listening')
    const url = `http://127.0.0.1:${(evil.address() as AddressInfo).port}`
    const folder = await folderOf(t, { '.rhone.json': JSON.stringify({ app: 'x', url }) })
    for (const variables of [{ RHONE_TOKEN: 'secret' }, { DATA_DIR: folder }]) {
      const { code, stderr } = await rhone('apps show', variables, folder)
      assert.equal(code, 1)
      assert.match(stderr, /log in there with: rhone login --url/)
    }
    assert.deepEqual(seen, [])
  })
})

describe('packing', () => {
  const listOf = async (folder: string) => {
    await using packed = await pack(folder, () => {})
    const listing = run('tar', ['tzf', '-'])
    await pipeline(packed.read(), listing.child.stdin!)
    const { stdout } = await listing
    return stdout.trim().split('\n').toSorted()
  }

  it('excludes files ignored by git and .rhoneignore, in every folder, and files that are never source', async t => {
    const folder = await folderOf(t, {
      '.gitignore': 'dist/\n*.log\n/only-root\n',
      '.rhoneignore': 'docs\n!keep.log\n',
      '.git/HEAD': 'x',
      '.env': 'SECRET=1',
      '.env.example': 'SECRET=',
      'node_modules/a/index.js': '',
      'dist/out.js': '',
      'docs/a.md': '',
      'a.log': '',
      'keep.log': '',
      'only-root': '',
      'sub/.gitignore': 'secret.txt\n!special.log\n',
      'sub/secret.txt': '',
      'sub/special.log': '',
      'sub/only-root': '',
      'src/a.js': ''
    })
    assert.deepEqual(await listOf(folder), [
      '.env.example',
      '.gitignore',
      '.rhoneignore',
      'keep.log',
      'src/',
      'src/a.js',
      'sub/',
      'sub/.gitignore',
      'sub/only-root',
      'sub/special.log'
    ])
  })

  it('creates the same archive from the same files, and refuses links to the outside', async t => {
    const folder = await folderOf(t, { 'a/b.txt': 'x', 'c.txt': 'y' })
    await symlink('a/b.txt', join(folder, 'link'))
    const bytes = async () => {
      await using packed = await pack(folder, () => {})
      return await buffer(packed.read())
    }
    assert.deepEqual(await bytes(), await bytes())
    await symlink('../../etc/passwd', join(folder, 'out'))
    await assert.rejects(
      pack(folder, () => {}),
      /the link out points outside the folder/
    )
  })

  it('stops at the limits of a server, names the largest folders, and leaves no files behind', async t => {
    const folder = await folderOf(t, {
      'data/a.bin': 'x'.repeat(3_000),
      'data/b.bin': 'y',
      'src/a.js': '',
      'c.js': 'z'
    })
    const before = new Set(await readdir(tmpdir()))
    const limits = { bytes: 1e9, entries: 1e9, packed: 1e9 }
    const refused: [object, RegExp][] = [
      [{ bytes: 3_000 }, /has more than 3\.0 kB of files.*Most of it is in data \(3\.0 kB\)/],
      [{ entries: 4 }, /has more than 4 files and folders.*data \(3 entries\)/],
      [{ packed: 100 }, /has more than 100 B when packed.*\.rhoneignore.*--path/]
    ]
    for (const [limit, why] of refused)
      await assert.rejects(
        pack(folder, () => {}, { ...limits, ...limit }),
        why
      )
    const left = (await readdir(tmpdir())).filter(name => /^rhone-.*\.tgz$/.test(name) && !before.has(name))
    assert.deepEqual(left, [])
  })

  it('reports that there is nothing to deploy', async t => {
    await assert.rejects(
      pack(await folderOf(t, { '.env': 'x' }), () => {}),
      /nothing to deploy/
    )
  })
})

describe('a stream that breaks', () => {
  it('resumes where it stopped, after the wait that the server requests', async t => {
    const asked: (string | undefined)[] = []
    const event = (id: number, name: string, value: object) =>
      `id: ${id}\nevent: ${name}\ndata: ${JSON.stringify(value)}\n\n`
    const line = (id: number) =>
      event(id, 'log', {
        id,
        timestamp: '2030-01-01T00:00:00.000Z',
        level: 'info',
        source: 'app',
        message: `line ${id}`
      })
    const serve = (request: IncomingMessage, reply: ServerResponse) => {
      if (!request.url!.includes('/live'))
        return void reply.setHeader('content-type', 'application/json').end('{"items":[],"nextCursor":null}')
      asked.push(request.headers['last-event-id'] as string | undefined)
      if (asked.length === 2)
        return void reply
          .writeHead(503, { 'retry-after': '1' })
          .end('{"error":{"code":"SERVICE_UNAVAILABLE","message":"busy","requestId":"1"}}')
      reply.writeHead(200, { 'content-type': 'text/event-stream' })
      if (asked.length === 1) reply.write(line(1) + line(2).slice(0, 20), () => reply.destroy())
      else reply.write(line(2))
    }
    const server = createServer(serve).listen(0, '127.0.0.1')
    t.after(() => server.close())
    t.after(() => server.closeAllConnections())
    await once(server, 'listening')
    const interrupted = new AbortController()
    let stdout = ''
    const { code, stderr } = await rhone(
      'logs hello -f',
      {
        RHONE_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
        RHONE_TOKEN: 'x'
      },
      await folderOf(t),
      {
        interruption: () => interrupted.signal,
        stdout(text) {
          stdout += text
          if (text.includes('line 2')) interrupted.abort()
        }
      }
    )
    assert.equal(code, 0, stderr)
    assert.deepEqual(stdout.match(/line \d/g), ['line 1', 'line 2'])
    assert.deepEqual(asked, [undefined, '1', '1'])
    assert.match(stderr, /trying again/)
  })
})

describe('output', () => {
  it('never lets foreign text control the terminal', () => {
    assert.equal(
      withoutControls('a\u001B[31mb\u001B]8;;javascript:x\u0007c\u0000d\r\ne\u202Ef\tg\u009B2J'),
      'abcd\nef\tg'
    )
  })

  it('has colours only on a terminal, and none with NO_COLOR', async t => {
    const folder = await folderOf(t)
    const item = { id: 1, at: '2030-01-01T00:00:00.000Z', level: 'error', source: 'app', message: 'broken' }
    const server = createServer((_, reply) =>
      reply.setHeader('content-type', 'application/json').end(JSON.stringify({ items: [item], nextCursor: null }))
    ).listen(0, '127.0.0.1')
    t.after(() => server.close())
    await once(server, 'listening')
    const variables = { RHONE_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, RHONE_TOKEN: 'x' }
    const shown = async (out: boolean, colour: boolean) =>
      (
        await rhone('logs a', variables, folder, { terminal: { out, err: out, in: out, colour, columns: 80 } })
      ).stdout.includes('\u001B[')
    assert.deepEqual(
      [await shown(true, true), await shown(true, false), await shown(false, true)],
      [true, false, false]
    )
  })
})

describe('completion', () => {
  it('asks the server for app names, and prints nothing without a server', async t => {
    const folder = await folderOf(t)
    const server = createServer((_, reply) =>
      reply
        .setHeader('content-type', 'application/json')
        .end(JSON.stringify({ items: [{ slug: 'blog' }, { slug: 'shop' }], nextCursor: null }))
    ).listen(0, '127.0.0.1')
    t.after(() => server.close())
    await once(server, 'listening')
    const RHONE_URL = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const asked = await rhone('completion apps', { RHONE_URL, RHONE_TOKEN: 'x' }, folder)
    assert.equal(asked.stdout, 'blog\nshop\n')
    const down = await rhone('completion apps', { RHONE_URL: 'http://127.0.0.1:1', RHONE_TOKEN: 'x' }, folder)
    assert.deepEqual([down.code, down.stdout], [1, ''])
  })
})
