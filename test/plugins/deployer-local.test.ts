import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { RuntimeLine } from '../../plugins/deployer/port.ts'
import { answering, context, type LocalMachine, localMachine, never, newApp, processesOf } from '../support/local-apps.ts'
import { eventually } from '../support/process.ts'

test('an app is started, opened under its name, replaced, and taken away', async t => {
  const machine = await localMachine(t)
  const { deployer } = machine
  const app = newApp()
  assert.deepEqual(await deployer.running(never), [], 'and no runner is started to find that out')

  const first = await machine.release(app, answering('one'))
  await deployer.start(first, context())
  assert.equal((await machine.get(app)).status, 404, 'it is healthy, and not open yet')
  await deployer.serve(first, context())
  assert.equal((await machine.get(app)).body, 'one')

  const second = await machine.deploy(await machine.release(app, answering('two')))
  assert.equal((await machine.get(app)).body, 'two')
  const both = await deployer.running(never)
  assert.deepEqual(
    new Map(both.map(({ deploymentId, isServing, isHealthy }) => [deploymentId, [isServing, isHealthy]])),
    new Map([
      [first.deploymentId, [false, true]],
      [second.deploymentId, [true, true]]
    ])
  )
  await deployer.retire(app, second.deploymentId, never)
  assert.deepEqual(
    (await deployer.running(never)).map(({ deploymentId }) => deploymentId),
    [second.deploymentId]
  )

  await deployer.destroy(app, never)
  await deployer.destroy(app, never)
  assert.deepEqual(await deployer.running(never), [])
  assert.equal((await machine.get(app)).status, 404)
})
