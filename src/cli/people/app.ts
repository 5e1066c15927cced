import { type Input, UsageError } from '../command.ts'
import { readFolder } from '../folder.ts'

/** An app as the API sends it. */
export interface App {
  readonly id: string
  readonly teamId: string
  readonly name: string
  readonly slug: string
  readonly url: string | null
  readonly githubRepo: string | null
  readonly gitUrl: string | null
  readonly rootDirectory: string | null
  readonly healthPath: string | null
  /** Seconds. */
  readonly healthGrace: number | null
  readonly port: number | null
  readonly githubBranch: string
  readonly region: string
  readonly autoDeploy: boolean
  readonly version: number
  readonly createdAt: string
  readonly updatedAt: string
}

export const appOption = {
  app: {
    type: 'string',
    short: 'a',
    value: '<app>',
    description: 'The app. Default: the one that this folder is linked to.'
  }
} as const

type Chooser = Pick<Input, 'folder'> & { readonly options: { readonly app?: string } }

/**
 * The app that a command acts on: `--app`, the argument, or the folder's app.
 * @throws UsageError when there is none
 */
export async function chosenApp({ options, folder }: Chooser, given?: string): Promise<string> {
  const named = options.app ?? given ?? (await readFolder(folder)).app
  if (named !== undefined) return named
  throw new UsageError(
    'no app given, and this folder is not linked to one: name the app (rhone apps list), or create one from this folder: rhone deploy --create'
  )
}

export const pathOf = (app: string) => `/api/v1/apps/${encodeURIComponent(app)}`
