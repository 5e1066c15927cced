import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { emptyGraveyard, removeTree } from '../../plugins/lib/remove-tree.ts'
import { thoroughly } from '../support/thorough.ts'

async function directory(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'rhone-remove-'))
  t.after(() => rm(path, { recursive: true, force: true }))
  return path
}

test('a tree is removed with locked directories, links, odd names and a depth that no path could have', async t => {
  const root = await directory(t)
  const tree = join(root, 'tree')
  await mkdir(join(tree, 'locked/inner'), { recursive: true })
  await writeFile(join(tree, 'locked/inner/file'), 'x')
  await writeFile(Buffer.concat([Buffer.from(`${tree}/`), Buffer.from([0xff, 0x0a, 0x41])]), 'x')
  await symlink('/nowhere', join(tree, 'dangling'))
  await chmod(join(tree, 'locked/inner'), 0o000)
  await chmod(join(tree, 'locked'), 0o500)
  const deep = spawn(
    '/bin/sh',
    ['-c', 'i=0; while [ $i -lt 300 ]; do d=ddddddddddddddddddddd; mkdir $d && cd $d; i=$((i+1)); done'],
    { cwd: tree }
  )
  await once(deep, 'exit')

  await removeTree(tree, join(root, 'graves'))
  assert.deepEqual(await readdir(root), ['graves'])
  assert.deepEqual(await readdir(join(root, 'graves')), [])
  await removeTree(tree, join(root, 'graves'))
})

test('the target of a link is kept, at the root of a tree as well as below it', async t => {
  const root = await directory(t)
  const kept = join(root, 'kept')
  await mkdir(kept)
  await writeFile(join(kept, 'file'), 'x')
  await mkdir(join(root, 'tree'))
  await symlink(kept, join(root, 'tree/link'))
  await symlink(kept, join(root, 'link'))
  await removeTree(join(root, 'tree'), join(root, 'graves'))
  await removeTree(join(root, 'link'), join(root, 'graves'))
  assert.deepEqual((await readdir(root)).sort(), ['graves', 'kept'])
  assert.equal(await readFile(join(kept, 'file'), 'utf8'), 'x')
})

/** Swaps directories of the tree for links to `victim` and back, as fast as it can, wherever the tree is moved. */
const SWAPPER = `
const fs = require('node:fs'), [victim] = process.argv.slice(1)
const attempt = work => { try { work() } catch {} }
process.stdout.write('ready')
for (;;) for (let i = 0; i < 20; i++) {
  attempt(() => fs.mkdirSync('d' + i + '/e', { recursive: true }))
  attempt(() => fs.renameSync('d' + i, 'aside'))
  attempt(() => fs.symlinkSync(victim, 'd' + i))
  attempt(() => fs.unlinkSync('d' + i))
  attempt(() => fs.renameSync('aside', 'd' + i))
}`

test('nothing outside a tree is removed, even if directories are swapped for links meanwhile', async t => {
  const root = await directory(t)
  const victim = join(root, 'victim')
  await mkdir(join(victim, 'e'), { recursive: true })
  await writeFile(join(victim, 'e/file'), 'x')
  for (let round = 0; round < thoroughly(2, 20); round++) {
    const tree = join(root, 'tree')
    for (let i = 0; i < 20; i++) await mkdir(join(tree, `d${i}/e`), { recursive: true })
    const swapper: ChildProcess = spawn(process.execPath, ['-e', SWAPPER, victim], {
      cwd: tree,
      stdio: ['ignore', 'pipe', 'ignore']
    })
    await once(swapper.stdout!, 'data')
    const removed = removeTree(tree, join(root, 'graves'))
    // It may fail because of concurrent writes; what matters is that it touched nothing else.
    await removed.catch(error => assert.equal(error.code, 'ENOTEMPTY'))
    const exited = once(swapper, 'exit')
    swapper.kill('SIGKILL')
    await exited
    assert.equal(await readFile(join(victim, 'e/file'), 'utf8'), 'x')
  }
  await emptyGraveyard(join(root, 'graves'))
  assert.deepEqual(await readdir(join(root, 'graves')), [])
})

test('remains of a crash are removed later', async t => {
  const root = await directory(t)
  await mkdir(join(root, 'graves/one/two'), { recursive: true })
  await writeFile(join(root, 'graves/file'), 'x')
  await emptyGraveyard(join(root, 'graves'))
  assert.deepEqual(await readdir(join(root, 'graves')), [])
  await emptyGraveyard(join(root, 'no-graves'))
})
