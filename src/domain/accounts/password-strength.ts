import { ZxcvbnFactory } from '@zxcvbn-ts/core'
import { adjacencyGraphs, dictionary } from '@zxcvbn-ts/language-common'

/** Tens of thousands of passwords from breaches, and the patterns by which people vary them. */
const zxcvbn = new ZxcvbnFactory({ dictionary, graphs: adjacencyGraphs, maxLength: 128 })

/** How hard a password is to guess, from 0 to 4, for an attacker who knows some words about its owner. */
export function estimate(password: string, words: readonly string[]): number {
  return zxcvbn.check(password, words.flatMap(word => [word, ...word.split(/[^\p{L}\p{N}]+/u)]).filter(Boolean)).score
}
