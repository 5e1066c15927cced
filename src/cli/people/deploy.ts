import { basename, resolve } from 'node:path'
import { Readable } from 'node:stream'
import { type Client, createClient, Refused } from '../client.ts'
import { CommandError, defineCommand, type Input, UsageError } from '../command.ts'
import { locate } from '../connect.ts'
import { readFolder, rememberIn } from '../folder.ts'
import { type Packed, pack } from '../pack.ts'
import { bar, size, spinner } from '../terminal.ts'
import { type App, appOption, chosenApp, pathOf } from './app.ts'
import { hasSource } from './apps.ts'
import { type Deployment, describe, watch } from './deployment.ts'

const options = {
  ...appOption,
  path: { type: 'string', value: '<folder>', description: 'Upload this folder. Default: the current one.' },
  git: { type: 'string', value: '<url>', description: 'Build this git repository from now on.' },
  branch: { type: 'string', short: 'b', value: '<branch>', description: 'Build this branch of the repository.' },
  commit: { type: 'string', value: '<sha>', description: 'Build this commit, by its full SHA.' },
  'any-commit': { type: 'boolean', description: "Allow a commit that is not on the app's branch; for admins." },
  image: { type: 'string', value: '<image>', description: 'Run this image (by digest) without a build.' },
  create: { type: 'boolean', description: 'Create the app if it does not exist.' },
  team: { type: 'string', value: '<team>', description: 'With --create: the team that owns the app.' },
  detach: { type: 'boolean', short: 'd', description: 'Do not wait until it has finished.' }
} as const
type DeployInput = Input<typeof options>

/** Options about a repository or a registry image. */
const ELSEWHERE = ['git', 'branch', 'commit', 'any-commit', 'image'] as const

export const deploy = defineCommand({
  name: 'deploy',
  summary:
    'Deploy an app, and show its build and its URL. An app with a repository is built from it; any other app from the current folder.',
  examples: [
    'rhone deploy hello --create',
    'rhone deploy --create',
    'rhone deploy hello --path ./website',
    'rhone deploy hello --commit 8f14e45fceea167a5a36dedd4bea2543d8f14e45',
    'rhone deploy hello --git https://git.example.com/acme/website.git'
  ],
  args: ['[app]'],
  options,
  printsData: true,
  forDeployers: true,
  async run(input) {
    const { path, image, git, commit, detach } = input.options
    const elsewhere = ELSEWHERE.filter(name => input.options[name] !== undefined)
    if (path !== undefined && elsewhere.length > 0)
      throw new UsageError(`--path uploads a folder: it cannot be combined with --${elsewhere[0]}`)
    if (image !== undefined && (git ?? commit) !== undefined)
      throw new UsageError('--image needs no source: it cannot be combined with --git or --commit')

    const place = await locate(input)
    const client = createClient(place)
    const folder = path === undefined ? input.folder : resolve(input.folder, path)
    const name = await nameFor(input, folder)
    const app = await findOrCreate(input, client, name)
    const isUpload = elsewhere.length === 0 && (path !== undefined || !hasSource(app))
    if (!isUpload && elsewhere.length === 0)
      input.note(
        `Building ${app.githubRepo ?? app.gitUrl}, branch ${app.githubBranch}. (--path . uploads this folder instead.)`
      )
    const begun = isUpload ? await upload(input, client, app, folder) : await request(input, client, app)
    if (isUpload) await remember(input, folder, app, place.isLocal ? undefined : new URL(place.url).origin)
    return detach ? { data: begun, text: describe(input.terminal, begun) } : watch(input, client, app, begun)
  }
})

/** With `--create`, a folder that is not linked to an app gives its own name to one. */
async function nameFor(input: DeployInput, folder: string): Promise<string> {
  const isNamed = (input.options.app ?? input.args[0] ?? (await readFolder(folder)).app) !== undefined
  if (isNamed || input.options.create !== true) return chosenApp({ ...input, folder }, input.args[0])
  const name = basename(folder)
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-|-$/g, '')
  if (name === '') throw new UsageError('the name of this folder is no name for an app: rhone deploy <name> --create')
  return name
}

async function findOrCreate({ options, note }: DeployInput, client: Client, name: string): Promise<App> {
  try {
    return await client.request<App>('GET', pathOf(name))
  } catch (error) {
    if (!(error instanceof Refused) || error.status !== 404) throw error
    if (options.create !== true)
      throw new CommandError(`app ${name} not found. To create it: rhone deploy ${name} --create`)
  }
  const { team } = options
  const app = await client.request<App>('POST', '/api/v1/apps', { name, slug: name, ...(team && { team }) })
  note(`Created the app ${app.slug}`)
  return app
}

async function request({ options }: DeployInput, client: Client, app: App): Promise<Deployment> {
  const { git, branch, commit, image, 'any-commit': anyCommit } = options
  if (git !== undefined && git !== app.gitUrl) await client.request('PATCH', pathOf(app.slug), { gitUrl: git })
  return client.request<Deployment>('POST', `${pathOf(app.slug)}/deploy`, {
    ...(branch !== undefined && { branch }),
    ...(commit !== undefined && { commitSha: commit.toLowerCase() }),
    ...(image !== undefined && { image }),
    ...(anyCommit && { anyCommit })
  })
}

async function upload(input: DeployInput, client: Client, app: App, folder: string): Promise<Deployment> {
  const progress = spinner(input.terminal, text => process.stderr.write(text))
  try {
    progress.show(`packing ${folder}`)
    await using packed = await pack(folder, (path, count) => progress.show(`packing ${count}: ${path}`))
    progress.clear()
    input.note(`Packed ${packed.files} ${packed.files === 1 ? 'file' : 'files'}, ${size(packed.bytes)}`)
    for (const path of packed.skipped) input.note(`Skipped ${path}: it is not a file, folder or link`)
    const begun = await client.upload<Deployment>(`${pathOf(app.slug)}/deploy/source`, packed.bytes, () =>
      counted(packed, sent => progress.show(`${bar(sent / packed.bytes)} of ${size(packed.bytes)} uploaded`))
    )
    progress.clear()
    input.note('Uploaded')
    return begun
  } finally {
    progress.clear()
  }
}

function counted(packed: Packed, onSent: (bytes: number) => void): Readable {
  return Readable.from(chunks())
  async function* chunks(): AsyncGenerator<Buffer> {
    let sent = 0
    for await (const chunk of packed.read()) {
      yield chunk
      sent += chunk.length
      onSent(sent)
    }
  }
}

/** Stores the app in the folder, so that its next deployment needs no name. */
async function remember({ note }: DeployInput, folder: string, app: App, url: string | undefined): Promise<void> {
  const before = await readFolder(folder).catch(() => ({}))
  const now = { app: app.slug, ...(url !== undefined && { url }) }
  if (JSON.stringify(before) === JSON.stringify(now)) return
  try {
    await rememberIn(folder, now)
    note(`.rhone.json links this folder to ${app.slug}`)
  } catch (error) {
    note(`(.rhone.json could not be written: ${(error as NodeJS.ErrnoException).code})`)
  }
}
