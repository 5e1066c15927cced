import { lt, sql } from 'drizzle-orm'
import { type Plan, spentSignIns, teamMembers, teams, users } from '../../../drizzle/schema.ts'
import { errors } from '../../../plugins/lib/errors.ts'
import { forgetCached } from '../base/caches.ts'
import type { Db } from '../base/db.ts'
import { isReserved, slugify, withSuffix } from '../base/slug.ts'

/** A GitHub account. */
export interface GithubIdentity {
  readonly id: number
  readonly username: string
  readonly email: string
  readonly avatarUrl: string | null
}

export interface SignedIn {
  readonly user: { readonly id: string; readonly username: string; readonly isOperator: boolean }
  /** The personal team of a new user; null for a known one. */
  readonly newTeam: { readonly id: string; readonly name: string; readonly slug: string } | null
}

const SLUG_ATTEMPTS = 6

export const signedInFields = { id: users.id, username: users.username, isOperator: users.isAdmin }

/**
 * Finds the user of a GitHub account, or creates one with a personal team. Only GitHub's id identifies the account:
 * names can change owners there, and an e-mail address must not give access to another user's account.
 *
 * @param plan the plan of a new personal team
 */
export async function signInWithGithub(tx: Db, identity: GithubIdentity, plan: Plan): Promise<SignedIn> {
  const { id: githubId, ...profile } = { ...identity, emailVerifiedAt: new Date() }
  const [row] = await tx
    .insert(users)
    .values({ githubId, ...profile })
    .onConflictDoUpdate({ target: users.githubId, set: profile })
    .returning({ ...signedInFields, eraseAfter: users.eraseAfter, isNew: sql<boolean>`xmax = 0` })
  const { isNew, eraseAfter, ...user } = row!
  if (eraseAfter !== null)
    throw errors.conflict('This account is being deleted; until it is erased, its restore code brings it back')
  if (!isNew) await forgetCached(tx, 'profiles', user.id)
  return { user, newTeam: isNew ? await createPersonalTeam(tx, user, plan) : null }
}

/** Creates a personal team. Its slug is the user's name, with a suffix when that is taken. */
export async function createPersonalTeam(tx: Db, user: { id: string; username: string }, plan: Plan) {
  const { id: userId, username } = user
  const slug = slugify(/^[a-z][a-z0-9-]{2}/i.test(username) ? username : `${username}-team`)
  for (let attempt = 0; attempt < SLUG_ATTEMPTS; attempt++) {
    const candidate = attempt === 0 && !isReserved(slug) ? slug : withSuffix(slug)
    const [team] = await tx
      .insert(teams)
      .values({ name: `${username}'s Team`, slug: candidate, plan })
      .onConflictDoNothing({ target: teams.slug })
      .returning({ id: teams.id, name: teams.name, slug: teams.slug })
    if (team === undefined) continue
    await tx.insert(teamMembers).values({ teamId: team.id, userId, role: 'owner' })
    return team
  }
  throw errors.conflict('Could not generate a free slug for your team; try again')
}

/** Remembers completed sign-ins for the oauth plugin, over all instances. */
export function spentSignInStore(db: () => Db) {
  return {
    async spend(hash: Buffer, expiresAt: Date): Promise<boolean> {
      await db().delete(spentSignIns).where(lt(spentSignIns.expiresAt, sql`now()`))
      const added = await db()
        .insert(spentSignIns)
        .values({ hash, expiresAt })
        .onConflictDoNothing()
        .returning({ hash: spentSignIns.hash })
      return added.length > 0
    }
  }
}
