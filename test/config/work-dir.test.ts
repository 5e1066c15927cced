import assert from 'node:assert/strict'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { workDirOf } from '../../src/config/work-dir.ts'
import { scratchDirectory } from '../support/repository.ts'

test('builds and images are never below our node_modules, where apps could find modules that they did not install', async t => {
  const root = await scratchDirectory(t, 'rhone-clone-')
  const dataDir = join(root, 'clone', '.rhone')
  await mkdir(dataDir, { recursive: true })
  assert.equal(workDirOf(dataDir, root), dataDir)
  await mkdir(join(root, 'clone', 'node_modules'))
  const elsewhere = workDirOf(dataDir, root)
  assert.match(elsewhere, /\/rhone-[0-9a-f]{16}$/)
  assert.equal(workDirOf(dataDir, root), elsewhere, 'it is found again')
  assert.notEqual(workDirOf(join(root, 'clone', 'other'), root), elsewhere)
  await mkdir(elsewhere)
  assert.equal(workDirOf(dataDir, root), elsewhere)
})
