import { type Html, html } from '../../plugins/lib/html.ts'
import type { AppOverview, DeploymentSummary } from '../../src/domain/apps/overview.ts'
import { icon, linkButton, notice } from '../parts.ts'

/** The source of an app's code, in a word. */
export function sourceName({ githubRepo, gitUrl }: Pick<AppOverview, 'githubRepo' | 'gitUrl'>): string | null {
  if (githubRepo !== null) return githubRepo
  return gitUrl?.replace(/^[a-z]+:\/\//, '').replace(/\.git$/, '') ?? null
}

/** The end of it, which is what tells the apps of a list apart. */
export function shortSourceName(app: Pick<AppOverview, 'githubRepo' | 'gitUrl'>): string {
  return sourceName(app)?.split('/').slice(-2).join('/') ?? 'no source yet'
}

/** An address, which breaks after its slashes where it has to. */
export function breakable(address: string): Html {
  const [first = '', ...others] = address.split('/')
  return html`${first}${others.map(part => html`/<wbr>${part}`)}`
}

/** The first line of a commit's message, and its hash. */
export function commitLine({
  commitSha,
  commitMessage,
  branch
}: Pick<DeploymentSummary, 'commitSha' | 'commitMessage' | 'branch'>): Html {
  const [first = ''] = (commitMessage ?? '').split('\n', 1)
  return html`<span class="truncate">${first || (commitSha === null ? 'The newest commit' : '')}</span><span class="sub">${icon('branch')} ${branch ?? 'an image'}${commitSha !== null && html` · <code>${commitSha.slice(0, 7)}</code>`}</span>`
}

const TRIGGERS = {
  manual: 'by hand',
  webhook: 'by a push',
  rollback: 'rollback',
  api: 'by the API',
  cli: 'by the command line'
} as const

/** Who or what began a deployment. */
export function beganBy({ trigger, by }: Pick<DeploymentSummary, 'trigger' | 'by'>): string {
  return by === null ? TRIGGERS[trigger] : `${by}, ${TRIGGERS[trigger]}`
}

/** An app that should serve and does not. @param name where several apps are shown */
export function downNotice(slug: string, name = 'It'): Html {
  return notice({
    tone: 'bad',
    title: `${name} does not answer`,
    detail: 'It has stopped, or fails its health check. It restarts automatically.',
    actions: linkButton({ label: 'See its log', href: `/apps/${slug}/logs` }, 'small')
  })
}
