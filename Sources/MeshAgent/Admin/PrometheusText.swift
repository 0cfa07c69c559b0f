package import MeshCore

/// Figures in Prometheus' text format (prometheus.io/docs/instrumenting/exposition_formats).
package struct PrometheusText {
    package private(set) var text = ""

    package init() {}

    package typealias Kind = AgentCompanion.Metric.Kind

    package mutating func add(_ name: String, _ kind: Kind, _ help: String, _ value: some BinaryInteger) {
        add(name, kind, help, label: nil, [("", value)])
    }

    package mutating func add(_ name: String, _ kind: Kind, _ help: String, _ value: Duration) {
        text += "# HELP sessionmesh_\(name) \(help)\n# TYPE sessionmesh_\(name) \(kind.rawValue)\n"
        text += "sessionmesh_\(name) \(Self.seconds(value))\n"
    }

    /// One line for each value of `label`.
    package mutating func add(_ name: String, _ kind: Kind, _ help: String, label: String?, _ values: [(String, some BinaryInteger)]) {
        text += "# HELP sessionmesh_\(name) \(help)\n# TYPE sessionmesh_\(name) \(kind.rawValue)\n"
        for (word, value) in values {
            let labels = label.map { "{\($0)=\"\(Self.escaped(word))\"}" } ?? ""
            text += "sessionmesh_\(name)\(labels) \(value)\n"
        }
    }

    /// Buckets as Prometheus counts them, each with those below it.
    package mutating func add(_ name: String, _ help: String, _ histogram: DurationHistogram) {
        text += "# HELP sessionmesh_\(name) \(help)\n# TYPE sessionmesh_\(name) histogram\n"
        var below: UInt64 = 0
        for (bound, count) in zip(DurationHistogram.bounds.map(Self.seconds) + ["+Inf"], histogram.counts) {
            below += count
            text += "sessionmesh_\(name)_bucket{le=\"\(bound)\"} \(below)\n"
        }
        text += "sessionmesh_\(name)_sum \(Self.seconds(histogram.sum))\nsessionmesh_\(name)_count \(below)\n"
    }

    private static func seconds(_ duration: Duration) -> String { String(Double(duration.nanoseconds) / 1_000_000_000) }

    private static func escaped(_ word: String) -> String {
        var escaped = ""
        for character in word.unicodeScalars {
            switch character {
            case "\\", "\"": escaped += "\\\(character)"
            case "\n": escaped += "\\n"
            default: escaped.unicodeScalars.append(character)
            }
        }
        return escaped
    }
}

extension AdminAnswer {
    static func metrics(_ figures: AgentFigures, companion: [AgentCompanion.Metric] = []) -> AdminAnswer {
        let status = figures.status
        var page = PrometheusText()
        page.add("ready", .gauge, "Whether this agent answers for the slots it ranks for.", status.isReady ? 1 : 0)
        page.add("sessions", .gauge, "Sessions held here, in either rank.", status.sessions)
        page.add(
            "sessions_discarded_total", .counter, "Sessions let go of after a cut that lasted too long for a merge.",
            status.sessionsDiscarded)
        page.add("session_memory_bytes", .gauge, "About what they take of memory.", status.memoryBytes)
        page.add("slots", .gauge, "Slots held here.", label: "rank", [("primary", status.primarySlots), ("backup", status.backupSlots)])
        page.add("under_replicated_slots", .gauge, "Slots answered for here whose second copy is not whole.", status.underReplicatedSlots)
        page.add(
            "leftover_slots", .gauge, "Slots of a former owner here whose present owner is not known to have all.", status.leftoverSlots)
        page.add("doubted_slots", .gauge, "Slots answered for here whose sessions may live out of reach.", status.doubtedSlots)
        page.add("stale_copies_total", .counter, "Copies of slots answered for here that were found to differ.", status.staleCopies)
        page.add("hand_off_slots", .gauge, "Slots answered for here though another node ranks first.", status.handOffSlots)
        page.add("alone", .gauge, "Whether no other node is alive to hold a second copy.", status.isAlone ? 1 : 0)
        page.add(
            "members", .gauge, "Members in this agent's view.", label: "status",
            Status.allCases.map { status in (status.word, figures.view.members.count { $0.status == status }) })
        page.add("instances", .gauge, "Application processes in this agent's view.", figures.view.instances.count)
        page.add("view_epoch", .counter, "Changes of this agent's view.", figures.view.epoch)
        page.addMirror(status.mirror)
        page.add("peer_links", .gauge, "Proven links to other members.", figures.links)
        page.add("clients", .gauge, "Connected applications.", figures.clients)
        page.add(
            "packets_dropped_total", .counter, "Gossip packets that were not accepted.", label: "reason",
            status.packetsDropped.sorted { $0.key < $1.key }.map { ($0.key, $0.value) })
        page.addSessions(status.counters)
        page.addMembership(status.membership)
        page.add("troubles_total", .counter, "What went wrong at a socket.", label: "kind", figures.troubles)
        for metric in companion {
            page.add(metric.name, metric.kind, metric.help, label: metric.label, metric.values)
        }
        return AdminAnswer(200, .metrics, page.text)
    }
}

extension CircuitBreaker.State {
    fileprivate static let words = ["closed", "half-open", "open"]

    fileprivate var word: String {
        switch self {
        case .closed: "closed"
        case .halfOpen: "half-open"
        case .open: "open"
        }
    }
}

extension PrometheusText {
    /// What applications asked, and what became of it.
    fileprivate mutating func addSessions(_ counters: AgentCounters) {
        add(
            "session_reads_total", .counter, "Sessions shown to applications of this agent.", label: "by",
            [("cookie", counters.opens), ("key", counters.reads)])
        add(
            "session_commits_total", .counter, "Commits of applications of this agent, by how they were answered.", label: "outcome",
            [
                ("done", counters.commitsDone), ("conflict", counters.commitsInConflict), ("notfound", counters.commitsWithoutSession),
                ("invalid", counters.commitsInvalid), ("full", counters.commitsRefusedAsFull),
                ("unavailable", counters.commitsUnavailable),
            ])
        add("session_forwards_total", .counter, "Requests sent on to another agent.", counters.forwards)
        add(
            "session_unavailable_total", .counter, "Requests for which no copy of a session could be had, counted where that was found.",
            label: "reason",
            [
                ("deadline", counters.unavailableAtDeadline), ("doubt", counters.unavailableInDoubt),
                ("mirror", counters.unavailableWithoutMirror), ("assent", counters.unavailableWithoutAssent),
                ("moving", counters.unavailableMoving),
            ])
        add(
            "session_events_total", .counter, "What became of sessions that this agent owned.", label: "event",
            [
                ("created", counters.created), ("moved", counters.moved), ("destroyed", counters.destroyed),
                ("expired", counters.expired),
            ])
        add(
            "session_event_gaps_total", .counter, "Times that clients of another agent were not told what became of sessions here.",
            counters.eventGaps)
        add("second_ways_total", .counter, "Times that a slot's late commits were sent to another node as well.", counters.secondWays)
        add("commit_wait_seconds", "From a change to the word of its second copy.", counters.commitWaits)
        add("slots_synced_total", .counter, "Slots sent whole, to make or mend a second copy.", counters.slotsSynced)
        add("sessions_synced_total", .counter, "Sessions sent in whole slots.", counters.sessionsSynced)
        add(
            "cookies_refused_total", .counter, "Cookies shown to this agent that opened no session.", label: "reason",
            [
                (SessionAbsence.malformed.rawValue, counters.cookiesMalformed),
                (SessionAbsence.unknownKey.rawValue, counters.cookiesOfUnknownKeys),
                (SessionAbsence.badSignature.rawValue, counters.cookiesOfBadSignature),
                (SessionAbsence.ended.rawValue, counters.cookiesOfEndedSessions),
            ])
        add("cookies_renewed_total", .counter, "Cookies of an older key, answered with one of the key in use.", counters.cookiesRenewed)
    }

    /// Of the mirror that this agent has; without one only that there is none.
    fileprivate mutating func addMirror(_ mirror: MirrorStatus?) {
        add("mirror_connected", .gauge, "Whether the mirror answers; 0 without one too.", mirror?.isLost == false ? 1 : 0)
        add("mirror_lost", .gauge, "Whether there is a mirror that doesn't answer.", mirror?.isLost == true ? 1 : 0)
        guard let mirror else { return }
        add(
            "mirror_breaker", .gauge, "1 at the state of the circuit breaker: closed lets calls pass, open none, half-open one to try.",
            label: "state", CircuitBreaker.State.words.map { ($0, $0 == mirror.breaker.word ? 1 : 0) })
        add("mirror_dirty", .gauge, "Sessions whose last change the mirror doesn't have yet.", mirror.dirty)
        add("mirror_lag_seconds", .gauge, "How long the oldest of those changes has waited.", mirror.lag)
        add("mirror_merged_total", .counter, "Sessions written to the mirror.", mirror.counters.merged)
        add(
            "mirror_refused_total", .counter, "Sessions the mirror would not take or give: what stands under their key is not ours.",
            mirror.counters.refused)
        add(
            "mirror_failures_total", .counter, "Calls that the mirror could not be reached for, refused, or answered too late.",
            mirror.counters.failures)
        add("mirror_stale_total", .counter, "Times that the mirror was found emptied or with older data.", mirror.counters.stale)
        add("mirror_merge_seconds", "From a batch of sessions to the mirror's answer.", mirror.counters.merges)
        add("mirror_load_seconds", "From a lookup of a session to the mirror's answer.", mirror.counters.loads)
    }

    /// How the mesh is watched, and how often that went wrong.
    fileprivate mutating func addMembership(_ counters: SWIM.Counters) {
        add("probes_total", .counter, "Members probed: one a period.", counters.probes)
        add(
            "probe_results_total", .counter, "Probes by how they ended: answered, answered by way of a helper only, not answered.",
            label: "result",
            [("answered", counters.acksDirect), ("helped", counters.acksHelped), ("unanswered", counters.unanswered)])
        add("probe_nacks_total", .counter, "Helpers that got no answer either.", counters.nacks)
        add(
            "suspicions_total", .counter, "Suspicions by who raised them.", label: "by",
            [("self", counters.suspicionsRaised), ("others", counters.suspicionsHeard)])
        add(
            "suspicion_outcomes_total", .counter,
            "What became of suspicions: confirmed by a second one, denied by a watcher, refuted by the suspect and so false.",
            label: "outcome",
            [
                ("confirmed", counters.suspicionsConfirmed), ("vetoed", counters.suspicionsVetoed),
                ("refuted", counters.suspicionsRefuted),
            ])
        add("deaths_total", .counter, "Members that died, by this agent's word or another's.", counters.deaths)
        add("deaths_lived_through_total", .counter, "Members that lived through their death.", counters.deathsLivedThrough)
        add("own_deaths_total", .counter, "Times when this agent was held for dead while it ran.", counters.ownDeaths)
        add(
            "view_repairs_total", .counter, "Lasting differences from another's view that this agent set out to mend, by what it used.",
            label: "by", [("packets", counters.repairsByPackets), ("link", counters.repairsByLink)])
        add("pauses_total", .counter, "Times when this process stood still.", counters.pauses)
        add("round_trip_seconds", "Pings to their direct answers.", counters.roundTrips)
    }
}
