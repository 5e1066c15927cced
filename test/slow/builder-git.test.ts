import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { access, chmod, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import { type CloneOptions, type Commit, clone } from '../../integrations/builder/git.ts'
import { BuildError, type BuildSource } from '../../integrations/builder/port.ts'
import { openSandbox } from '../../integrations/builder/sandbox.ts'
import type { Account } from '../../plugins/lib/owned-processes.ts'
import { createRepository, scratchDirectory } from '../support/repository.ts'

const LIMITS = {
  seconds: 20,
  output: 1_048_576,
  memory: 2 ** 30,
  disk: 2 ** 26,
  spare: 1,
  processes: 100,
  grace: 500
}

const options: CloneOptions = {
  git: 'git',
  path: process.env.PATH!,
  allowLocal: true,
  trustedHosts: [],
  addressesOf: async () => ['127.0.0.1']
}

const asRoot = { skip: process.geteuid?.() !== 0 && 'only root can be others' }

/** Clones into a new directory. @returns the result */
async function fetchCommit(
  t: TestContext,
  source: BuildSource,
  more: Partial<CloneOptions> & { disk?: number; account?: Account } = {}
) {
  const directory = await scratchDirectory(t, 'rhone-clone-')
  const said: string[] = []
  const sandbox = openSandbox({
    id: crypto.randomUUID(),
    directory,
    account: more.account ?? null,
    limits: { ...LIMITS, ...(more.disk && { disk: more.disk }) },
    signal: new AbortController().signal,
    say: text => said.push(text),
    note: line => said.push(line)
  })
  t.after(() => sandbox.close())
  const tree = join(directory, 'source')
  const commit = await clone(source, tree, sandbox, { ...options, ...more }).catch(error => error as Error)
  return { directory, tree, commit, log: () => said.join('') }
}

const source = (url: string, more: Partial<BuildSource> = {}): BuildSource => ({ url, branch: 'main', ...more })

test('the newest commit of a branch is fetched, with its first line and its author', async t => {
  const repository = await createRepository(t)
  await repository.push({ 'index.js': 'one' })
  const sha = await repository.push(
    { 'index.js': 'two' },
    { message: '\n\nSecond change\n\nIts reasons', author: 'Zoë' }
  )
  const { commit, tree } = await fetchCommit(t, source(repository.url))
  assert.deepEqual(commit, { commitSha: sha, commitMessage: 'Second change', commitAuthor: 'Zoë' })
  assert.equal(await readFile(join(tree, 'index.js'), 'utf8'), 'two')
  assert.deepEqual(await readdir(tree), ['index.js'])
})

test('a commit is fetched by its SHA, even if the branch has moved on', async t => {
  const repository = await createRepository(t)
  const first = await repository.push({ 'index.js': 'one' })
  await repository.push({ 'index.js': 'two' })
  const { commit, tree } = await fetchCommit(t, source(repository.url, { commitSha: first }))
  assert.equal((commit as { commitSha: string }).commitSha, first)
  assert.equal(await readFile(join(tree, 'index.js'), 'utf8'), 'one')
})

test('hostile names and messages are treated as plain text', async t => {
  const repository = await createRepository(t, 'it%27s-a-repo.git')
  const branch = `feature/$(touch\${IFS}pwned);'"\`id\`&|<b>-ünï`
  const message = `$(touch pwned) \`id\` "; DROP TABLE apps; --\u001b[2J\u0007 <script>alert(1)</script> ${'👩‍🚀'.repeat(150)}`
  const sha = await repository.push(
    { 'a\nb': 'x', '--upload-pack=touch pwned': 'y' },
    { branch, message, author: '<b>Bobby`id`' }
  )
  const { commit, directory } = await fetchCommit(t, source(repository.url, { branch }))
  assert.ok(!(commit instanceof Error), String(commit))
  assert.equal(commit.commitSha, sha)
  assert.match(commit.commitMessage, /^\$\(touch pwned\) `id` "; DROP TABLE apps; -- \[2J {2}<script>/)
  assert.equal([...commit.commitMessage].length, 200)
  assert.ok(commit.commitMessage.isWellFormed())
  assert.equal(commit.commitAuthor, 'bBobby`id`')
  for (const place of [directory, join(directory, 'source'), process.cwd()])
    await assert.rejects(access(join(place, 'pwned')), 'nothing was executed')
})

test('values that look like options never reach git', async t => {
  const { url } = await createRepository(t)
  const sources: BuildSource[] = [
    source('--upload-pack=touch pwned'),
    source('-oProxyCommand=id'),
    source('ext::sh -c id'),
    source('ssh://git@example.com/a.git'),
    source('git@example.com:a/b.git'),
    source('https://user:password@example.com/a.git'),
    source('https://example.com/a.git\n--upload-pack=id'),
    source('https://exam ple.com/a.git'),
    source('https://example.com/a.git;id'),
    source('https://example.com/$(id).git'),
    source('https://-oProxyCommand=id/a.git'),
    source('file://-/a'),
    source(url, { branch: '--upload-pack=touch pwned' }),
    source(url, { branch: '-f' }),
    source(url, { branch: '' }),
    source(url, { branch: 'a b' }),
    source(url, { branch: 'a:refs/heads/b' }),
    source(url, { branch: '../../config' }),
    source(url, { branch: 'a\nb' }),
    source(url, { branch: 'a\0b' }),
    source(url, { branch: 'a.lock' }),
    source(url, { branch: 'x'.repeat(300) }),
    source(url, { commitSha: 'HEAD' }),
    source(url, { commitSha: '--upload-pack=id' }),
    source(url, { commitSha: 'abc1234' })
  ]
  for (const hostile of sources) {
    const { commit, log } = await fetchCommit(t, hostile)
    assert.ok(commit instanceof BuildError, `${JSON.stringify(hostile)}: ${commit}`)
    assert.equal(log(), '')
  }
})

test(
  'a repository of this machine is fetched as the build’s user, unless all who own the app operate the machine',
  asRoot,
  async t => {
    const repository = await createRepository(t)
    const sha = await repository.push({ 'index.js': 'one' })
    const fetchAs = (mayReadOurs: boolean) =>
      fetchCommit(t, source(repository.url, { mayReadOurs }), { account: { uid: 61_500, gid: 61_500 } })

    const open = await fetchAs(false)
    assert.equal((open.commit as Commit).commitSha, sha)
    assert.equal((await stat(join(open.tree, 'index.js'))).uid, 61_500)

    await chmod(repository.path, 0o700)
    const closed = await fetchAs(false)
    assert.ok(closed.commit instanceof BuildError, String(closed.commit))
    assert.match(closed.log(), /make it readable for everybody/)
    assert.equal(((await fetchAs(true)).commit as Commit).commitSha, sha)
  }
)

test('http: and file: are refused unless they are allowed', async t => {
  const repository = await createRepository(t)
  await repository.push({})
  for (const url of [repository.url, 'http://example.com/a.git']) {
    const { commit } = await fetchCommit(t, source(url), { allowLocal: false })
    assert.ok(commit instanceof BuildError)
  }
})

test('a missing branch, commit or repository is reported to the owner', async t => {
  const repository = await createRepository(t)
  await repository.push({})
  const missing: readonly (readonly [BuildSource, RegExp])[] = [
    [source(repository.url, { branch: 'gone' }), /no such branch/],
    [source(repository.url, { commitSha: 'a'.repeat(40) }), /no such commit/],
    [source(`${repository.url}-gone`), /does not exist/]
  ]
  for (const [wanted, sentence] of missing) {
    const { commit } = await fetchCommit(t, wanted)
    assert.ok(commit instanceof BuildError, String(commit))
    assert.match(commit.message, sentence)
  }
})

test('whatever git says about a repository is reported to the owner at once, with git’s reason', async t => {
  const broken = await createRepository(t)
  await broken.push({})
  await writeFile(join(broken.path, 'packed-refs'), 'what is this\n')
  await rm(join(broken.path, 'objects'), { recursive: true })
  const cases: readonly (readonly [url: string, sentence: RegExp, reason: RegExp])[] = [
    ['http://127.0.0.1:1/a.git', /host does not answer/, /git: .*Failed to connect/],
    [(await listen(t, 503)).url, /is unavailable/, /error: 503/],
    [(await listen(t, 301, { location: '/elsewhere' })).url, /URL redirects/, /error: 301/],
    [(await listen(t, 403)).url, /cannot read it/, /403/],
    [(await listen(t, 200)).url, /./, /git: ./],
    [(await listen(t, 302)).url.replace('http:', 'https:'), /TLS connection .* failed/, /git: (?!.*CAfile)/],
    [broken.url, /./, /git: ./]
  ]
  for (const [url, sentence, reason] of cases) {
    const { commit } = await fetchCommit(t, source(url))
    assert.ok(commit instanceof BuildError, `${url}: ${commit}`)
    assert.match(commit.message, sentence)
    assert.match(commit.reason ?? '', reason)
    assert.ok(commit.reason!.length < 400)
  }
})

test('a temporary failure of the machine is retried, and not blamed on the owner', async t => {
  const repository = await createRepository(t)
  await repository.push({})
  const directory = await scratchDirectory(t, 'rhone-git-')
  const git = join(directory, 'git')
  await writeFile(
    git,
    '#!/bin/sh\necho "error: unable to create thread: Resource temporarily unavailable" >&2\nexit 128\n'
  )
  await chmod(git, 0o755)
  const { commit } = await fetchCommit(t, source(repository.url), { git })
  assert.ok(commit instanceof Error && !(commit instanceof BuildError), String(commit))
})

test('a commit of a pull request is not built, since it could read the env vars', async t => {
  const repository = await createRepository(t)
  const run = (...args: string[]) =>
    promisify(execFile)('git', ['-c', 'user.name=Eve', '-c', 'user.email=eve@example.com', ...args], {
      cwd: repository.path
    })
  const first = await repository.push({ a: '1' })
  const tree = (await run('rev-parse', `${first}^{tree}`)).stdout.trim()
  const child = async (parent: string, message: string) =>
    (await run('commit-tree', tree, '-p', parent, '-m', message)).stdout.trim()
  let tip = first
  for (let index = 0; index < 5; index++) tip = await child(tip, String(index))
  await run('update-ref', 'refs/heads/main', tip)
  const evil = await child(tip, 'evil')
  await run('update-ref', 'refs/pull/1/head', evil)

  for (const commitSha of [tip, first]) {
    const { commit } = await fetchCommit(t, source(repository.url, { commitSha, within: 'main' }))
    assert.ok(!(commit instanceof Error), String(commit))
    assert.equal(commit.commitSha, commitSha)
  }
  const { commit } = await fetchCommit(t, source(repository.url, { commitSha: evil, within: 'main' }))
  assert.ok(commit instanceof BuildError)
  assert.match(commit.message, /not on the branch main/)
  const allowed = await fetchCommit(t, source(repository.url, { commitSha: evil }))
  assert.ok(!(allowed.commit instanceof Error))
})

test('the log says that submodules and LFS files are not fetched', async t => {
  const repository = await createRepository(t)
  await repository.push({ '.gitmodules': '[submodule "a"]\n\tpath = a\n\turl = https://127.0.0.1:1/a.git\n' })
  assert.match((await fetchCommit(t, source(repository.url))).log(), /submodules\. They are not fetched/)
  await repository.push({ '.gitattributes': '*.png filter=lfs diff=lfs merge=lfs -text\n' })
  assert.match((await fetchCommit(t, source(repository.url))).log(), /Git LFS\. They are not fetched/)
})

/** A web server that records its requests. */
async function listen(t: TestContext, status: number, headers: Record<string, string> = {}) {
  const requests: IncomingMessage[] = []
  const server = createServer((request, reply) => {
    requests.push(request)
    reply.writeHead(status, headers).end()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const { port } = server.address() as AddressInfo
  return { requests, port, url: `http://127.0.0.1:${port}/owner/repository.git` }
}

test('credentials are sent to the host as a header, and appear nowhere else', async t => {
  const host = await listen(t, 401)
  const authorization = `Basic ${Buffer.from('x-access-token:ghs_verysecret').toString('base64')}`
  const { commit, log, directory } = await fetchCommit(t, source(host.url, { authorization }))
  assert.ok(commit instanceof BuildError)
  assert.equal(host.requests[0]!.headers.authorization, authorization)
  const left = await contentsOf(directory)
  for (const text of [log(), commit.message, ...left]) assert.doesNotMatch(text, /ghs_verysecret|Z2hzX3Zlc/)
  assert.ok(left.length > 0)
})

async function contentsOf(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  const files = entries.filter(entry => entry.isFile()).map(entry => join(entry.parentPath, entry.name))
  return Promise.all(files.map(file => readFile(file, 'latin1')))
}

test('a redirect is not followed, so that credentials stay with their host', async t => {
  const other = await listen(t, 200)
  const host = await listen(t, 302, { location: `${other.url}/info/refs?service=git-upload-pack` })
  const { commit } = await fetchCommit(t, source(host.url, { authorization: 'Bearer ghs_verysecret' }))
  assert.ok(commit instanceof Error)
  assert.equal(host.requests.length, 1)
  assert.equal(other.requests.length, 0)
})

test('a host that is not public is refused before any request', async t => {
  const { commit } = await fetchCommit(t, source('https://metadata.internal/a.git'), {
    allowLocal: false,
    addressesOf: async () => Promise.reject(new Error('not public'))
  })
  assert.ok(commit instanceof BuildError)
  assert.match(commit.message, /public Internet/)
})

test('the checked address is used, even if the name changes later', async t => {
  const asked: string[] = []
  const host = await listen(t, 404)
  const { commit } = await fetchCommit(t, source(`https://pinned.example.com:${host.port}/a.git`), {
    allowLocal: false,
    addressesOf: async hostname => {
      asked.push(hostname)
      return ['127.0.0.1']
    }
  })
  assert.deepEqual(asked, ['pinned.example.com'])
  // Only the resolver under test knows this name; the attempt ends because the host does not speak TLS.
  assert.ok(commit instanceof BuildError)
  assert.match(commit.message, /TLS connection .* failed/)
})

test('a link that points outside the repository is refused, because it could expose our files', async t => {
  const repository = await createRepository(t)
  const links = ['/proc/self/environ', '../../../../etc/passwd', '..', 'docs/../../outside']
  for (const link of links) {
    await repository.push({ 'docs/a': 'a', 'package.json': { link } })
    const { commit } = await fetchCommit(t, source(repository.url))
    assert.ok(commit instanceof BuildError, link)
    assert.match(commit.message, /points outside the repository/)
  }
  await repository.push({ 'docs/readme': 'a', README: { link: 'docs/readme' }, 'docs/up': { link: '..' } })
  const { commit } = await fetchCommit(t, source(repository.url))
  assert.ok(!(commit instanceof Error), String(commit))
})

test('hooks, filters and submodules of a repository are not run', async t => {
  const repository = await createRepository(t)
  await repository.push({
    '.gitattributes': '* filter=evil diff=evil\n',
    '.gitmodules': '[submodule "evil"]\n\tpath = evil\n\turl = https://127.0.0.1:1/evil.git\n\tupdate = !touch pwned\n',
    '.lfsconfig': '[lfs]\n\turl = http://127.0.0.1:1/\n',
    'post-checkout': { program: '#!/bin/sh\ntouch pwned\n' },
    'big.bin': 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n'
  })
  const { commit, tree } = await fetchCommit(t, source(repository.url))
  assert.ok(!(commit instanceof Error), String(commit))
  assert.ok(!(await readdir(tree)).includes('pwned'))
})

test('a repository that is too large is abandoned', async t => {
  const repository = await createRepository(t)
  await repository.push({ noise: randomBytes(1_500_000).toString('latin1') })
  const { commit } = await fetchCommit(t, source(repository.url), { disk: 1_048_576 })
  assert.ok(commit instanceof BuildError, String(commit))
  assert.match(commit.message, /more than 1 MB of disk space/)
})
