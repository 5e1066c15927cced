import { type Html, html } from '../../plugins/lib/html.ts'
import type { Team } from '../../src/domain/teams/access.ts'
import type { PageContext, Role, View } from '../context.ts'
import {
  ago,
  button,
  buttonForm,
  card,
  facts,
  field,
  form,
  formProblem,
  icon,
  initial,
  linkButton,
  meter,
  notice,
  type Problem,
  pageHeader,
  pager,
  secretOnce,
  select,
  status,
  table,
  tag,
  type Values
} from '../parts.ts'

export interface TeamMember {
  readonly id: string
  readonly username: string
  readonly role: Role
  readonly createdAt: Date
}

export interface TeamInvitation {
  readonly id: string
  readonly email: string
  readonly role: string
  readonly state: 'pending' | 'accepted' | 'revoked' | 'expired'
  readonly expiresAt: Date
}

/** A GitHub account with the GitHub App. */
export interface TeamInstallation {
  readonly id: string
  readonly accountLogin: string
  readonly accountType: string
  /** Since when GitHub has suspended the App there. */
  readonly suspendedAt: Date | null
  readonly createdAt: Date
}

export interface TeamEvent {
  readonly type: string
  readonly action: string
  readonly outcome: string
  readonly actor: string | null
  readonly resource: string | null
  readonly resourceName: string | null
  readonly createdAt: Date
}

/** What the viewer may do. */
export interface TeamRights {
  readonly inviteMembers: boolean
  readonly removeMembers: boolean
  readonly renameTeam: boolean
  readonly changeRoles: boolean
  readonly manageInstallations: boolean
  readonly manageBilling: boolean
  readonly transferTeam: boolean
  readonly deleteTeam: boolean
  /** The roles of members whom the viewer may remove. */
  readonly removable: readonly Role[]
}

export interface TeamPage {
  readonly team: Team
  readonly may: TeamRights
  readonly members: readonly TeamMember[]
  /** Cursor of the next, older members. */
  readonly next: string | null
  /** Whether this is not the first page of members. */
  readonly isLater: boolean
  readonly places: { readonly members: number; readonly invited: number; readonly limit: number | null }
  readonly installations: readonly TeamInstallation[]
  /** Whether this server has a GitHub App. */
  readonly hasGithub: boolean
  /** Null for viewers who may not see them. */
  readonly invitations: readonly TeamInvitation[] | null
  readonly events: readonly TeamEvent[] | null
  /** The link of a newly created invitation. */
  readonly link?: { readonly email: string; readonly url: string } | undefined
  /** The refused form, with its submitted values. */
  readonly refused?: { readonly form: TeamForm; readonly values: Values; readonly problem: Problem } | undefined
}

export type TeamForm = 'names' | 'invite' | 'other'

const ROLE_CHOICES = ['member', 'admin', 'owner'] as const

/** A team: its members, invitations, limits and recent events. */
export function teamPage(page: TeamPage): View {
  const { team, refused, link, may } = page
  return context => ({
    title: `Team ${team.name}`,
    section: 'team',
    content: html`${pageHeader({
      title: team.name,
      beside: tag(
        `you are ${team.role === 'member' ? 'a member' : `${team.role === 'admin' ? 'an' : 'the'} ${team.role}`}`
      ),
      actions: linkButton({ label: 'Its apps', href: `/apps?team=${team.slug}`, icon: 'apps' })
    })}
${refused?.form === 'other' && formProblem(refused.problem)}
${link && html`${secretOnce(`Link for ${link.email}`, link.url)}<p class="hint">Send it to them yourself. It works for seven days, once, and only for an account with that verified address.</p>`}
${members(context, page)}
${may.inviteMembers && invitationsCard(context, page)}
${installationsCard(context, page)}
${planCard(page)}
${may.renameTeam && namesCard(context, page)}
${page.events !== null && eventsCard(context, page.events)}
${may.transferTeam && transferCard(context, page)}
${may.deleteTeam && card({ title: 'Delete this team', isDanger: true, id: 'danger' }, html`<div class="row apart"><p>Its memberships and invitations go with it.</p>${linkButton({ label: 'Delete …', href: `/teams/${team.slug}/delete`, kind: 'danger', icon: 'trash' })}</div>`)}`
  })
}

function members(context: PageContext, { team, may, members: rows, next, isLater, places }: TeamPage): Html {
  const url = `/teams/${team.slug}`
  const isViewer = ({ id }: TeamMember) => id === context.viewer?.id
  return html`${card(
    { title: `Members · ${places.members}`, id: 'members', isFlush: true },
    table(
      'Members',
      [
        {
          label: 'Name',
          cell: member =>
            html`<span class="row">${initial(member.username, 'round')}<strong>${member.username}</strong>${isViewer(member) && tag('you')}</span>`
        },
        { label: 'Role', cell: member => (may.changeRoles ? roleForm(context, url, member) : tag(member.role)) },
        { label: 'Since', cell: ({ createdAt }) => ago(createdAt, context.now) },
        {
          label: 'Actions',
          isActions: true,
          cell: member => {
            const action = `${url}/members/${member.id}/remove`
            if (isViewer(member))
              return buttonForm(context, action, {
                label: 'Leave',
                size: 'small',
                kind: 'quiet',
                confirm: `Leave ${team.name}? Only an invitation brings you back.`
              })
            return (
              may.removeMembers &&
              may.removable.includes(member.role) &&
              buttonForm(context, action, {
                label: 'Remove',
                size: 'small',
                kind: 'quiet',
                confirm: `Remove ${member.username} from ${team.name}?`
              })
            )
          }
        }
      ],
      rows
    )
  )}
${(next !== null || isLater) && pager(rows.length, next === null ? null : `${url}?cursor=${encodeURIComponent(next)}`, isLater ? url : null)}
${places.members === 1 && may.inviteMembers && notice({ tone: 'info', title: 'You are the only member of this team', detail: 'Invite somebody below. A second owner can manage it when you are away.' })}`
}

function roleForm(context: PageContext, url: string, { id, username, role }: TeamMember): Html {
  return form(
    context,
    { action: `${url}/members/${id}/role`, classes: 'inline', isSecret: true },
    html`<select class="input small" name="role" aria-label="Role of ${username}">${ROLE_CHOICES.map(choice => html`<option value="${choice}"${choice === role && html` selected`}>${choice}</option>`)}</select>${button({ label: 'Change', size: 'small' })}`
  )
}

function invitationsCard(context: PageContext, page: TeamPage): Html {
  const { team, may, refused, places } = page
  const url = `/teams/${team.slug}/invitations`
  const open = (page.invitations ?? []).filter(({ state }) => state === 'pending' || state === 'expired')
  const { values = {}, problem = undefined } = refused?.form === 'invite' ? refused : {}
  const isFull = places.limit !== null && places.members + places.invited >= places.limit
  return html`${
    open.length > 0 &&
    card(
      { title: 'Invitations', id: 'invitations', isFlush: true },
      table(
        'Invitations',
        [
          { label: 'Address', cell: ({ email }) => html`<strong>${email}</strong>` },
          { label: 'Role', cell: ({ role }) => tag(role) },
          {
            label: 'Ends',
            cell: ({ state, expiresAt }) => html`${state === 'expired' && 'expired '}${ago(expiresAt, context.now)}`
          },
          {
            label: 'Actions',
            isActions: true,
            cell: ({ id, email }) =>
              html`<div class="actions">${buttonForm(context, `${url}/${id}/again`, { label: 'New link', size: 'small', kind: 'quiet', confirm: `Make a new link for ${email}? The old one stops working.` })}${buttonForm(context, `${url}/${id}/revoke`, { label: 'Revoke', size: 'small', kind: 'quiet', confirm: `Revoke the invitation of ${email}?` })}</div>`
          }
        ],
        open
      )
    )
  }
${form(
  context,
  { action: url, classes: '', id: 'invite' },
  card(
    {
      title: 'Invite somebody',
      footer: html`<span class="hint">You get a link to send to them.</span>${button({ label: 'Invite', kind: 'primary' })}`
    },
    html`${formProblem(problem)}${isFull && notice({ tone: 'warn', title: 'All places of the plan are taken', detail: `The plan ${team.plan} has ${places.limit === 1 ? 'one place' : `${places.limit} places`}, open invitations included. ${may.manageBilling ? 'Change the plan, or free a place first.' : 'An owner can change the plan.'}` })}${field({ name: 'email', label: 'E-mail address', type: 'email', value: values.email, isRequired: true, maxLength: 254, error: problem?.fields.email, hint: 'Their account needs this verified address.' })}${select(
      {
        name: 'role',
        label: 'Role',
        value: values.role ?? 'member',
        error: problem?.fields.role,
        choices: [
          { value: 'member', label: 'member: sees and deploys' },
          { value: 'admin', label: 'admin: changes apps, invites people' }
        ]
      }
    )}`
  )
)}`
}

function installationsCard(context: PageContext, { team, may, installations, hasGithub }: TeamPage): Html {
  const url = `/teams/${team.slug}/installations`
  const connect =
    hasGithub &&
    may.manageInstallations &&
    html`<a class="button small" href="/github/connect?team=${team.slug}" data-no-prefetch>${icon('github')}Connect an account</a>`
  return card(
    { title: 'GitHub', id: 'installations', isFlush: installations.length > 0, actions: connect },
    installations.length === 0
      ? html`<p class="faint">${hasGithub ? 'No account is connected. Pushes to its repositories deploy, and private ones can be read.' : 'The GitHub App is not set up on this server. Public repositories can be deployed by their URL.'}</p>`
      : table(
          'Connected GitHub accounts',
          [
            {
              label: 'Account',
              cell: ({ accountLogin, accountType }) =>
                html`<strong>${accountLogin}</strong> <span class="faint">${accountType.toLowerCase()}</span>`
            },
            {
              label: 'State',
              cell: ({ suspendedAt }) =>
                suspendedAt === null
                  ? status({ tone: 'good', icon: 'ok', word: 'Connected' })
                  : status({ tone: 'warn', icon: 'warn', word: 'Suspended at GitHub' }, suspendedAt, context.now)
            },
            { label: 'Since', cell: ({ createdAt }) => ago(createdAt, context.now) },
            {
              label: 'Actions',
              isActions: true,
              cell: ({ id, accountLogin }) =>
                may.manageInstallations &&
                buttonForm(context, `${url}/${id}/disconnect`, {
                  label: 'Disconnect',
                  size: 'small',
                  kind: 'quiet',
                  confirm: `Disconnect ${accountLogin}? Pushes there no longer deploy.`
                })
            }
          ],
          installations
        )
  )
}

function planCard({ team, places }: TeamPage): Html {
  return card(
    { title: 'Plan', id: 'plan' },
    html`${facts([
      ['Plan', tag(team.plan, 'accent')],
      [
        'Created',
        html`<time datetime="${team.createdAt.toISOString()}">${team.createdAt.toISOString().slice(0, 10)}</time>`
      ],
      ['Id', html`<code>${team.id}</code>`]
    ])}${meter({ label: 'Places, open invitations included', used: places.members + places.invited, limit: places.limit })}`
  )
}

function namesCard(context: PageContext, { team, refused }: TeamPage): Html {
  const { values = { name: team.name, slug: team.slug }, problem = undefined } =
    refused?.form === 'names' ? refused : {}
  return form(
    context,
    { action: `/teams/${team.slug}`, revision: team.version, classes: '' },
    card(
      {
        title: 'Name',
        id: 'names',
        footer: html`<span class="hint">Links with the old slug stop working.</span>${button({ label: 'Save' })}`
      },
      html`${formProblem(problem)}${problem && values.name !== team.name && html`<p class="hint">As it is now: <code>${team.name}</code>, <code>${team.slug}</code>.</p>`}${field({ name: 'name', label: 'Name', value: values.name, isRequired: true, maxLength: 255, error: problem?.fields.name })}${field({ name: 'slug', label: 'Slug', value: values.slug, isCode: true, maxLength: 63, error: problem?.fields.slug, hint: 'Names the team in URLs.' })}`
    )
  )
}

function transferCard(context: PageContext, { team, members: rows }: TeamPage): Html | false {
  const others = rows.filter(({ id }) => id !== context.viewer?.id)
  if (others.length === 0) return false
  return form(
    context,
    { action: `/teams/${team.slug}/transfer`, classes: '', isSecret: true },
    card(
      {
        title: 'Transfer this team',
        id: 'transfer',
        isDanger: true,
        footer: html`<span class="hint">They become an owner, and you become an admin.</span>${button({ label: 'Transfer', kind: 'danger', confirm: `Transfer ${team.name}? You cannot undo this yourself.` })}`
      },
      select({
        name: 'user',
        label: 'New owner',
        choices: others.map(({ id, username, role }) => ({ value: id, label: `${username} · ${role}` }))
      })
    )
  )
}

function eventsCard(context: PageContext, events: readonly TeamEvent[]): Html {
  return card(
    { title: 'Recent events', id: 'audit', isFlush: true },
    events.length === 0
      ? html`<div class="body"><p class="faint">No events yet.</p></div>`
      : table(
          'Recent events of the audit log',
          [
            {
              label: 'What',
              cell: ({ resource, type, action, resourceName }) =>
                html`<b>${resource ?? type}.${action}</b>${resourceName && html` <span class="sub">${resourceName}</span>`}`
            },
            { label: 'Who', cell: ({ actor }) => actor ?? html`<span class="faint">unknown</span>` },
            { label: 'Outcome', cell: ({ outcome }) => (outcome === 'success' ? 'success' : tag(outcome, 'warn')) },
            { label: 'When', cell: ({ createdAt }) => ago(createdAt, context.now) }
          ],
          events
        )
  )
}
