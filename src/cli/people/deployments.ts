import type { Page } from '../client.ts'
import { defineCommand, UsageError } from '../command.ts'
import { connect } from '../connect.ts'
import { table } from '../format.ts'
import { age } from '../terminal.ts'
import { type App, appOption, chosenApp, pathOf } from './app.ts'
import { type Deployment, describe, findDeployment, isOver, subjectOf, watch } from './deployment.ts'

const MOST = 200

export const deploymentsList = defineCommand({
  name: 'deployments list',
  summary: 'List the deployments of an app, newest first.',
  examples: ['rhone deployments list hello', 'rhone deployments list hello --limit 100 --json'],
  args: ['[app]'],
  options: {
    ...appOption,
    limit: { type: 'string', short: 'n', value: '<number>', description: 'How many to show, up to 200. Default: 20.' }
  },
  printsData: true,
  forDeployers: true,
  async run(input) {
    const limit = numberUpTo(MOST, '--limit', input.options.limit ?? '20')
    const path = pathOf(await chosenApp(input, input.args[0]))
    const { items } = await (await connect(input)).request<Page<Deployment>>(
      'GET',
      `${path}/deployments?limit=${limit}`
    )
    if (items.length === 0) input.note('There are no deployments yet. Start one with: rhone deploy')
    const rows = items.map(item => [
      item.id.slice(0, 8),
      item.status.replace('_', ' '),
      subjectOf(item),
      item.trigger,
      age(item.createdAt)
    ])
    const text = items.length === 0 ? '' : table(['id', 'status', 'of', 'begun by', 'age'], rows, input.terminal)
    return { data: items, text }
  }
})

export const deploymentsShow = defineCommand({
  name: 'deployments show',
  summary: 'Show a deployment, and the reason if it failed.',
  examples: ['rhone deployments show 0197a4b2 --app hello'],
  args: ['<id>'],
  options: appOption,
  printsData: true,
  forDeployers: true,
  async run(input) {
    const app = await chosenApp(input)
    const found = await findDeployment(await connect(input), app, input.args[0]!)
    return { data: found, text: describe(input.terminal, found) }
  }
})

export const deploymentsCancel = defineCommand({
  name: 'deployments cancel',
  summary: 'Cancel a running deployment (default: the newest); the live version keeps serving.',
  examples: ['rhone deployments cancel --app hello', 'rhone deployments cancel 0197a4b2 --app hello'],
  args: ['[id]'],
  options: appOption,
  printsData: true,
  forDeployers: true,
  async run(input) {
    const app = await chosenApp(input)
    const client = await connect(input)
    const path = `${pathOf(app)}/deployments`
    const [newest] = (await client.request<Page<Deployment>>('GET', `${path}?limit=1`)).items
    const [id] = input.args
    if (id === undefined && (newest === undefined || isOver(newest)))
      throw new UsageError(`no deployment of ${app} is running`)
    const found = id === undefined ? newest! : await findDeployment(client, app, id)
    const cancelled = await client.request<Deployment>('POST', `${path}/${found.id}/cancel`)
    return { data: cancelled, text: describe(input.terminal, cancelled) }
  }
})

export const rollback = defineCommand({
  name: 'rollback',
  summary: 'Roll back to an earlier deployment (default: the previous one) with the current env vars.',
  examples: ['rhone rollback hello', 'rhone rollback hello --to 0197a4b2'],
  args: ['[app]'],
  options: {
    ...appOption,
    to: {
      type: 'string',
      value: '<id>',
      description: 'A deployment that has been live; rhone deployments list shows them.'
    },
    detach: { type: 'boolean', short: 'd', description: 'Do not wait until it has finished.' }
  },
  printsData: true,
  forDeployers: true,
  async run(input) {
    const { to, detach } = input.options
    const client = await connect(input)
    const app = await client.request<App>('GET', pathOf(await chosenApp(input, input.args[0])))
    const target = to === undefined ? undefined : await findDeployment(client, app.slug, to)
    const body = target === undefined ? {} : { deploymentId: target.id }
    const begun = await client.request<Deployment>('POST', `${pathOf(app.slug)}/rollback`, body)
    input.note(`Rolling back to ${begun.commitMessage?.replace('Rollback to ', '') ?? 'an earlier deployment'}`)
    return detach ? { data: begun, text: describe(input.terminal, begun) } : watch(input, client, app, begun)
  }
})

export function numberUpTo(most: number, option: string, text: string): number {
  const number = Number(text)
  if (/^\d+$/.test(text) && number >= 1 && number <= most) return number
  throw new UsageError(`${option}: "${text}" is not a number from 1 to ${most}`)
}
