import { html } from '../../plugins/lib/html.ts'
import type { RecentDeployment } from '../../src/domain/apps/overview.ts'
import type { View } from '../context.ts'
import { ago, buttonForm, card, empty, live, pager, status, table } from '../parts.ts'
import { type AppFrame, appHeader } from './frame.ts'
import { beganBy, commitLine } from './pieces.ts'
import { DEPLOYMENT_STATES, deploymentState, type Measured } from './state.ts'

export interface DeploymentList extends AppFrame {
  readonly items: readonly Measured<RecentDeployment>[]
  readonly next: string | null
  readonly cursor: string | undefined
}

/** The deployments of an app, newest first. */
export function deploymentListPage(list: DeploymentList): View {
  const { app, items, next, cursor } = list
  const base = `/apps/${app.slug}/deployments`
  return context => ({
    title: `Deployments of ${app.name}`,
    section: 'apps',
    content: html`${appHeader(list, context, '/deployments', null, buttonForm(context, `/apps/${app.slug}/deploy`, { label: 'Deploy', icon: 'rocket', kind: 'primary' }))}
${live(
  'deployments',
  [`app:${app.id}`],
  items.length === 0
    ? empty({ icon: 'rocket', title: 'Never deployed', why: 'Deployments appear here as soon as there is one.' })
    : html`${card(
        { isFlush: true },
        table(
          'Deployments',
          [
            {
              label: 'Commit',
              cell: found => html`<a class="row-link" href="${base}/${found.id}">${commitLine(found)}</a>`
            },
            {
              label: 'Status',
              cell: found => status(deploymentState(found), found.isDown ? null : found.updatedAt, context.now)
            },
            {
              label: 'Begun',
              cell: found => html`${ago(found.createdAt, context.now)}<span class="sub">${beganBy(found)}</span>`
            },
            {
              label: 'Actions',
              isActions: true,
              cell: found =>
                DEPLOYMENT_STATES[found.status].tone === 'busy'
                  ? buttonForm(context, `${base}/${found.id}/cancel`, { label: 'Cancel', size: 'small' })
                  : found.status === 'superseded' &&
                    buttonForm(
                      context,
                      `/apps/${app.slug}/rollback`,
                      { label: 'Roll back', size: 'small', confirm: 'Roll back to this deployment?' },
                      { deployment: found.id }
                    )
            }
          ],
          items
        )
      )}${pager(items.length, next === null ? null : `${base}?cursor=${next}`, cursor === undefined ? null : base)}`
)}`
  })
}
