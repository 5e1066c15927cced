import { html } from '../../plugins/lib/html.ts'
import type { Team } from '../../src/domain/teams/access.ts'
import type { View } from '../context.ts'
import { card, confirmForm, linkButton, notice, pageHeader } from '../parts.ts'

export interface DeleteTeam {
  readonly team: Team
  readonly members: number
  /** Open invitations. */
  readonly invited: number
  /** Why it cannot be deleted yet; empty when it can. */
  readonly reasons: readonly string[]
  readonly error?: string | undefined
}

/** The confirmation before a team is deleted. */
export function deleteTeamPage({ team, members, invited, reasons, error }: DeleteTeam): View {
  const url = `/teams/${team.slug}`
  return context => ({
    title: `Delete ${team.name}`,
    section: 'team',
    narrow: true,
    content: html`${pageHeader({ title: `Delete ${team.name}?`, crumbs: [{ label: team.name, href: url }] })}
${
  reasons.length > 0
    ? html`${notice({
        tone: 'warn',
        title: `The team still has ${reasons.join(' and ')}`,
        detail: 'Delete its apps and cancel its subscription first: they would keep running and cost money.',
        actions: linkButton({ label: 'See its apps', href: `/apps?team=${team.slug}` }, 'small')
      })}<div class="actions">${linkButton({ label: 'Back to the team', href: url })}</div>`
    : card(
        { isDanger: true },
        html`<p>This cannot be undone.</p>
<ul><li>${members === 1 ? 'Your membership ends.' : `The memberships of ${members} people end, yours among them. Their accounts stay.`}</li>
${invited > 0 && html`<li>${invited === 1 ? 'One open invitation ends.' : `${invited} open invitations end.`}</li>`}
<li>The slug <code>${team.slug}</code> is free for others at once.</li>
<li>Recorded usage and the audit log stay, as bills do.</li></ul>
${confirmForm(context, { action: `${url}/delete`, word: team.slug, label: 'Delete the team', error, revision: team.version })}
${linkButton({ label: 'Keep it', href: url })}`
      )
}`
  })
}
