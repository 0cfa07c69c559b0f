import Glibc
import LabTools

extension Run {
    /// An orderly goodbye, by the signal that each takes for one.
    func leave() throws {
        var seen = Sample()
        defer { report("seen by each", seen, p99: 0.2) }
        try withMesh { mesh in
            try repeated(7) { round in
                let leaver = try mesh.victim(round, of: size)
                let others = mesh.survivors(of: [leaver])
                mesh.mark()
                let start = Instant.now
                leaver.mayEnd = true
                leaver.signal(system == .ours ? SIGTERM : SIGINT)
                _ = try mesh.poll(.seconds(20)) { others.allSatisfy { [.left, .dead].contains($0.view[leaver.name]) } }
                let left = mesh.first(.left, of: leaver.name, by: others)
                let dead = mesh.first(.dead, of: leaver.name, by: others)
                let delays = delays(zip(left, dead).map { $0 ?? $1 }, from: start)
                seen.add(delays)
                try mesh.wait(.seconds(20), for: "the end of \(leaver.name)") { !leaver.child.isRunning }
                try mesh.start(Self.number(of: leaver))
                try mesh.whole()
                try mesh.run(for: .seconds(2))
                return "seen by the last after \(Measurement.Unit.seconds.text(delays.max() ?? .infinity))"
            }
        }
    }

    /// Everybody starts within a second.
    func join() throws {
        var whole = Sample()
        var starting = Sample()
        var epochs = Sample()
        defer {
            report("all views whole after the last start, slowest", .seconds, goal: 1, whole.largest)
            report("the starts took, slowest", .seconds, starting.largest)
            if system == .ours { report("epochs a balancer showed, most", .count, goal: 10, epochs.largest) }
        }
        try repeated(3) { _ in
            let mesh = Mesh(system, with: toolbox)
            defer { mesh.end() }
            let first = try mesh.start(1)
            try mesh.wait(.seconds(20), for: "the first member") { first.isReady }
            let balancer = system == .ours ? try mesh.start(250, isBalancer: true) : nil
            try mesh.whole()
            try mesh.run(for: .seconds(2))
            mesh.mark()
            let before = balancer.flatMap { mesh.metric("routing_updates_total", of: $0) }
            let start = Instant.now
            for number in 2...size {
                // A start that comes late is not waited for twice.
                let due = start + .milliseconds(1000 * (number - 1) / (size - 1))
                if .now < due { try mesh.run(for: due - .now) }
                try mesh.start(number)
            }
            let last = Instant.now
            starting.add(last.seconds(since: start))
            let isWhole = try mesh.poll(.seconds(90)) { mesh.isWhole }
            let end = mesh.sightings.last?.at ?? last
            whole.add(isWhole ? max(0, end.seconds(since: last)) : .infinity)
            if let balancer {
                try mesh.run(for: .seconds(2))
                let after = mesh.metric("routing_updates_total", of: balancer)
                let told = Set(mesh.sightings.filter { $0.observer == balancer.index }.compactMap(\.epoch)).count
                epochs.add(Double(before.flatMap { before in after.map { $0 - before } } ?? told))
            }
            return isWhole ? "whole \(end.seconds(since: last).fixed(2)) s after the last start" : "not whole after 90 s"
        }
    }

    /// A node dies and comes back under its name at another address, before anybody has noticed the death.
    func replace() throws {
        var seen = Sample()
        var exits = 0
        defer {
            report("new address in each view", seen, p99: 1)
            report("members that ended by it", .count, goal: 0, Double(exits))
        }
        try repeated(3) { round in
            var text = ""
            try withMesh { mesh in
                let victim = try mesh.victim(round, of: size)
                let survivors = mesh.survivors(of: [victim])
                let host = 150 + round
                victim.mayEnd = true
                victim.signal(SIGKILL)
                try mesh.run(for: .milliseconds(20))
                mesh.mark()
                let start = Instant.now
                let newcomer = try mesh.start(Self.number(of: victim), host: host)
                let address = mesh.host(host)
                let isSeen = { (node: Node) in
                    node.view[victim.name] == .alive
                        && node.addresses[victim.name].map { $0 == address || $0 == "\(address):7946" } ?? false
                }
                _ = try mesh.poll(.seconds(20)) { survivors.allSatisfy(isSeen) }
                let delays = survivors.map { node -> Double in
                    guard isSeen(node) else { return .infinity }
                    let at = mesh.sightings.first {
                        $0.observer == node.index && $0.subject == victim.name && $0.status == .alive && $0.address.hasPrefix(address)
                    }?.at
                    return at?.seconds(since: start) ?? .infinity
                }
                seen.add(delays)
                try mesh.run(for: .seconds(5))
                let ended = mesh.nodes.filter { !$0.child.isRunning && !$0.mayEnd }
                exits += ended.count
                text = "in the last view after \(Measurement.Unit.seconds.text(delays.max() ?? .infinity))"
                if let one = ended.first { text += "; \(one.name)\(one === newcomer ? ", the new one," : "") ended: \(one.lastLog)" }
            }
            return text
        }
    }

    /// A second process of a name whose first is alive.
    func duplicate() throws {
        var refused = Sample()
        var harmed = 0
        defer {
            report("the second one ends", refused, p99: 1)
            report("changes that others saw of the first one", .count, goal: 0, Double(harmed))
        }
        try repeated(3) { round in
            var text = ""
            try withMesh { mesh in
                let first = try mesh.victim(round, of: size)
                let others = mesh.survivors(of: [first])
                mesh.mark()
                let start = Instant.now
                let second = try mesh.start(Self.number(of: first), host: 150 + round)
                second.mayEnd = true
                first.mayEnd = true
                let isRefused = try mesh.poll(.seconds(20)) { !second.child.isRunning }
                refused.add(isRefused ? Instant.now.seconds(since: start) : .infinity)
                try mesh.run(for: .seconds(3))
                harmed += mesh.sightings.count { sighting in
                    sighting.subject == first.name && others.contains { $0.index == sighting.observer }
                }
                if !first.child.isRunning { harmed += 1 }
                text = isRefused ? "exit \(second.child.exitCode ?? -1): \(second.lastLog)" : "it was let in"
            }
            return text
        }
    }
}
