import type { Page } from 'playwright-core'
import type { Data } from './data.ts'
import type { Person } from './site.ts'

/* Every page in every state, for tests and screenshots. */

export interface Visit {
  /** The name of the screenshot. */
  readonly name: string
  readonly path: string
  /** Null: not signed in. */
  readonly as: Person | null
  /** The status of the reply; 200 by default. */
  readonly status?: number
  /** Brings the page into its state, for example by sending an invalid form. */
  readonly act?: (page: Page) => Promise<unknown>
  /** Number of h1 headings; 1 by default. */
  readonly headings?: number
}

/** A new page is one line in one of these lists. */
export function visitsOf({ ada, bob, grace, newt, deployments, invitation, deviceCode }: Data): Visit[] {
  const website = '/apps/website'
  const operator = (name: string, path: string): Visit => ({ name, path, as: grace })
  return [
    { name: 'home', path: '/', as: null },
    { name: 'login', path: '/login?next=%2Fapps', as: null },
    { name: 'reset', path: '/auth/reset', as: null },
    { name: 'terms', path: '/terms', as: null },
    { name: 'privacy', path: '/privacy', as: null },
    { name: 'status', path: '/status', as: null },
    // Shows the page header twice more, once per theme.
    { name: 'design', path: '/design', as: null, headings: 3 },

    { name: 'dashboard', path: '/dashboard?team=acme', as: ada },
    { name: 'apps', path: '/apps?team=acme', as: ada },
    { name: 'new-app', path: '/apps/new?team=acme', as: ada },
    { name: 'app', path: website, as: ada },
    { name: 'app-failing', path: '/apps/payments-api', as: ada },
    { name: 'app-logs', path: `${website}/logs`, as: ada },
    { name: 'app-deployments', path: `${website}/deployments`, as: ada },
    { name: 'deployment-live', path: `${website}/deployments/${deployments.live}`, as: ada },
    { name: 'deployment-failed', path: `/apps/payments-api/deployments/${deployments.failed}`, as: ada },
    { name: 'deployment-building', path: `/apps/worker/deployments/${deployments.building}`, as: ada },
    { name: 'deployment-queued', path: `/apps/thumbnails/deployments/${deployments.queued}`, as: ada },
    { name: 'app-settings', path: `${website}/settings`, as: ada },
    { name: 'app-delete', path: `${website}/delete`, as: ada },
    { name: 'team', path: '/teams/acme', as: ada },
    { name: 'new-team', path: '/teams/new', as: ada },
    { name: 'team-delete', path: '/teams/acme/delete', as: ada },
    { name: 'invitation', path: invitation, as: newt },
    { name: 'settings', path: '/settings', as: ada },
    { name: 'new-token', path: '/settings/tokens/new', as: ada },
    { name: 'account-delete', path: '/settings/delete', as: ada },
    { name: 'billing', path: '/billing?team=acme', as: ada },
    { name: 'login-again', path: '/login?again=yes&next=%2Fapps%2Fwebsite%2Fdelete', as: ada },
    { name: 'device-login', path: '/login/device', as: ada },
    { name: 'device-login-approve', path: `/login/device?code=${deviceCode}`, as: ada },
    { name: 'device-login-approved', path: '/login/device?done=approved', as: ada },
    { name: 'device-login-denied', path: '/login/device?done=denied', as: ada },

    operator('admin', '/admin'),
    operator('admin-operations', '/admin/operations'),
    operator('admin-errors', '/admin/errors'),
    operator('admin-jobs', '/admin/jobs?state=dead'),
    operator('admin-users', '/admin/users'),
    operator('admin-audit', '/admin/audit'),

    // As seen by members, who may not change anything.
    { name: 'app-settings-read', path: `${website}/settings`, as: bob },
    { name: 'team-read', path: '/teams/acme', as: bob },

    // Live, but does not answer.
    { name: 'app-down', path: '/apps/mailer', as: bob },
    { name: 'dashboard-down', path: `/dashboard?team=${bob.username}`, as: bob },

    // Without data.
    { name: 'dashboard-empty', path: '/dashboard?team=newt', as: newt },
    { name: 'apps-empty', path: '/apps?team=newt', as: newt },
    { name: 'apps-no-match', path: '/apps?team=acme&q=nothing+like+it', as: ada },
    { name: 'app-never', path: '/apps/handbook', as: ada },
    { name: 'app-no-source', path: '/apps/spike', as: ada },
    { name: 'app-logs-empty', path: '/apps/handbook/logs', as: ada },
    { name: 'app-logs-no-match', path: `${website}/logs?search=nothing+like+it`, as: ada },
    { name: 'app-deployments-empty', path: '/apps/handbook/deployments', as: ada },
    { name: 'app-settings-empty', path: '/apps/handbook/settings', as: ada },
    { name: 'team-alone', path: '/teams/newt', as: newt },
    { name: 'settings-empty', path: '/settings', as: newt },
    { name: 'billing-empty', path: '/billing?team=newt', as: newt },
    { name: 'invitation-none', path: '/invitations/accept', as: bob },
    operator('admin-errors-empty', '/admin/errors?code=NOTHING'),
    operator('admin-jobs-empty', '/admin/jobs?state=waiting'),
    operator('admin-users-no-match', '/admin/users?username=nobody-is-called-that'),
    operator('admin-audit-no-match', '/admin/audit?type=billing'),

    // Errors.
    { name: 'not-found', path: '/apps/nowhere', as: ada, status: 404 },
    { name: 'no-such-page', path: '/nothing/here', as: null, status: 404 },
    { name: 'forbidden', path: `${website}/delete`, as: bob, status: 403 },
    { name: 'operators-only', path: '/admin', as: ada, status: 403 },
    { name: 'not-configured', path: '/github/connect?team=acme', as: ada, status: 501 },
    { name: 'invitation-wrong', path: `/invitations/accept?token=${'0'.repeat(64)}`, as: bob, status: 404 },
    { name: 'device-login-wrong', path: '/login/device?code=BBBB-BBBB', as: newt, status: 422 },
    {
      name: 'login-wrong',
      path: '/login',
      as: null,
      act: async page => {
        await page.getByLabel('Name').fill('ada')
        await page.getByLabel('Password').fill('wrong')
        await sent(page, page.getByRole('button', { name: 'Sign in' }).click())
      }
    },
    {
      name: 'new-app-refused',
      path: '/apps/new?team=acme',
      as: ada,
      act: async page => {
        await page.getByLabel('Name').fill('Website')
        await page.getByLabel('Slug').fill('Not A Slug')
        await page.getByRole('textbox', { name: 'Repository' }).fill('javascript:alert(1)')
        await sent(page, page.getByRole('button', { name: 'Create', exact: true }).click())
      }
    },
    {
      name: 'app-env-refused',
      path: `${website}/settings`,
      as: ada,
      act: async page => {
        await page.getByLabel('Variables', { exact: true }).fill('lower=1')
        await sent(page, page.getByRole('button', { name: 'Save', exact: true }).last().click())
      }
    },
    {
      name: 'app-delete-refused',
      path: `${website}/delete`,
      as: ada,
      act: async page => {
        await page.getByLabel('Type website to confirm').fill('something else')
        await sent(page, page.getByRole('button', { name: 'Delete the app' }).click())
      }
    },
    {
      name: 'new-team-refused',
      path: '/teams/new',
      as: ada,
      act: async page => {
        await page.getByLabel('Name').fill('Acme')
        await page.getByLabel('Slug').fill('acme')
        await sent(page, page.getByRole('button', { name: 'Create the team' }).click())
      }
    },
    {
      name: 'invite-refused',
      path: '/teams/acme',
      as: ada,
      act: async page => {
        await page.getByLabel('E-mail').fill('newt@example.com')
        await sent(page, page.getByRole('button', { name: 'Invite' }).click())
      }
    },
    {
      name: 'token-once',
      path: '/settings/tokens/new',
      as: newt,
      act: async page => {
        await page.getByLabel('Name').fill('A token for pictures')
        await sent(page, page.getByRole('button', { name: 'Create' }).click())
      }
    }
  ]
}

/** Waits for the reply to a form. */
async function sent(page: Page, click: Promise<unknown>): Promise<void> {
  await Promise.all([page.waitForResponse(response => response.request().method() === 'POST'), click])
  await page.waitForLoadState('load')
}
