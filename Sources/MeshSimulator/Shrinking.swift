// A failing run of many members and many faults tells little. What remains when nothing more can be taken away tells nearly all.

/// A search for the smallest run that still fails in the same way.
enum Shrinking {
    /// Takes away from `failing` for as long as what is left still fails.
    /// - Parameters:
    ///   - candidates: all that is a little smaller, the greatest steps first. Each makes something less and nothing more, so that this
    ///     comes to an end.
    ///   - run: the outcome of one if it fails in the same way; nil if it does not, or if it may not be run any more.
    static func least<Outcome, Candidate>(
        _ failing: Outcome, candidates: (Outcome) -> [Candidate], run: (Candidate) -> Outcome?
    ) -> Outcome {
        var least = failing
        search: while true {
            for candidate in candidates(least) {
                guard let smaller = run(candidate) else { continue }
                least = smaller
                continue search
            }
            return least
        }
    }

    /// The list without one of its parts: all of it, its halves, quarters, and at last each single element.
    static func fewer<Element>(_ list: [Element]) -> [[Element]] {
        var lists: [[Element]] = []
        var size = list.count
        while size > 0 {
            for start in stride(from: 0, to: list.count, by: size) {
                var fewer = list
                fewer.removeSubrange(start..<min(start + size, list.count))
                lists.append(fewer)
            }
            size /= 2
        }
        return lists
    }

    /// A time of so many milliseconds cut in half, and to whole seconds.
    static func shorter(_ milliseconds: Int64) -> [Int64] { [milliseconds / 2, milliseconds / 1000 * 1000] }
}
