import LabTools

extension Run {
    /// A fifth of all packets is lost, TCP's too.
    func loss() throws {
        let numbers = Array(1...size)
        try Grounds.prepare(numbers)
        defer { try? Grounds.clear(numbers) }
        var deaths = 0
        var suspicions = 0
        let duration: Duration = lab.effort.isFull ? .seconds(600) : .seconds(60)
        defer {
            report("deaths in \(Int(duration.seconds)) s", .count, goal: 0, Double(deaths))
            report("suspicions shown", .count, Double(suspicions))
        }
        try withMesh(on: .apart) { mesh in
            try Grounds.lose(0.2, at: numbers)
            mesh.mark()
            try watch(mesh, for: duration) {
                deaths = mesh.deaths(of: mesh.nodes)
                suspicions = mesh.sightings.count { $0.status == .suspect }
                return "\(suspicions) suspicions, \(deaths) deaths"
            }
            rounds = 1
        }
    }

    /// A few members get next to no CPU.
    func starve() throws {
        let starved = (0..<4).map { size - $0 }
        let names = Set(starved.map { "n\($0)" })
        let duration: Duration = lab.effort.isFull ? .seconds(600) : .seconds(60)
        var healthy = 0
        var hungry = 0
        defer {
            report("deaths of healthy members in \(Int(duration.seconds)) s", .count, goal: 0, Double(healthy))
            report("deaths of the starved, as seen by the healthy", .count, goal: 0, Double(hungry))
        }
        var groups: [Starvation] = []
        defer { for index in groups.indices { groups[index].end() } }
        try withMesh { mesh in
            for number in starved {
                guard let node = mesh["n\(number)"] else { continue }
                groups.append(try Starvation(named: "\(lab.id)-\(number)", percent: 2))
                try groups[groups.count - 1].add(node.child.pid)
            }
            mesh.mark()
            let indices = Set(mesh.nodes.filter { names.contains($0.name) }.map(\.index))
            try watch(mesh, for: duration) {
                healthy = mesh.sightings.count { $0.status == .dead && !names.contains($0.subject) }
                hungry = mesh.sightings.count { $0.status == .dead && names.contains($0.subject) && !indices.contains($0.observer) }
                return "\(healthy) deaths of healthy members, \(hungry) of starved ones"
            }
            rounds = 1
        }
    }

    /// What is sent to one member is lost for 20 s, arrives for 20 s, and so on; what it sends always arrives.
    func flap() throws {
        let numbers = Array(1...size)
        try Grounds.prepare(numbers)
        defer { try? Grounds.clear(numbers) }
        var first = Double.infinity
        var later = Double.infinity
        defer {
            report("changes in the first minute, worst survivor", .count, goal: 2, first)
            report("changes in a later minute, worst survivor", .count, goal: 1, later)
        }
        try withMesh(on: .apart) { mesh in
            let victim = try mesh.victim(1, of: size)
            let survivors = mesh.survivors(of: [victim])
            let number = Self.number(of: victim)
            var isDead = Dictionary(uniqueKeysWithValues: survivors.map { ($0.index, false) })
            var changes: [Int: [Int]] = [:]
            mesh.mark()
            let start = Instant.now
            for cycle in 0..<9 {
                if cycle % 2 == 0 { try Grounds.deafen(number) } else { try Grounds.clear([number]) }
                try mesh.run(for: start + .seconds(20 * (cycle + 1)) - .now)
                for sighting in mesh.sightings where sighting.subject == victim.name && isDead[sighting.observer] != nil {
                    let dead = sighting.status == .dead || sighting.status == .left
                    guard dead != isDead[sighting.observer], sighting.status != .suspect else { continue }
                    isDead[sighting.observer] = dead
                    let minute = min(2, Int(sighting.at.seconds(since: start) / 60))
                    changes[sighting.observer, default: [0, 0, 0]][minute] += 1
                }
                mesh.mark()
                first = Double(changes.values.map { $0[0] }.max() ?? 0)
                say("\(20 * (cycle + 1)) s of 180 s: at the worst survivor \(changes.values.map { $0.reduce(0, +) }.max() ?? 0) changes")
            }
            later = Double(changes.values.map { max($0[1], $0[2]) }.max() ?? 0)
            rounds = 1
        }
    }

    /// Two halves that can't hear each other, and then can.
    func heal() throws {
        let half = size / 2
        let numbers = Array(1...half) + (0..<(size - half)).map { 129 + $0 }
        try Grounds.prepare(numbers)
        defer { try? Grounds.clear(numbers) }
        let duration: Duration = lab.effort.isFull ? .seconds(300) : .seconds(60)
        var healed = Double.infinity
        defer { report("one view after a partition of \(Int(duration.seconds)) s", .seconds, goal: 5, healed) }
        say("starting \(size) members in two halves")
        let mesh = Mesh(system, on: .apart, with: toolbox)
        defer { mesh.end() }
        let first = try mesh.start(1)
        try mesh.wait(.seconds(20), for: "the first member") { first.isReady }
        for (index, number) in numbers.enumerated().dropFirst() { try mesh.start(index + 1, host: number) }
        try mesh.whole()
        try mesh.run(for: .seconds(3))
        for number in numbers { try Grounds.cut(number, from: number < 129 ? "10.77.0.128/25" : "10.77.0.0/25") }
        try watch(mesh, for: duration) {
            let sizes = mesh.nodes.map { node in node.view.values.count { $0 == .alive } }
            return "views of \(sizes.min() ?? 0) to \(sizes.max() ?? 0) members"
        }
        guard !mesh.isWhole else { throw LabFailure("the cut cut nothing") }
        let start = Instant.now
        try Grounds.clear(numbers)
        mesh.mark()
        if try mesh.poll(.seconds(120), until: { mesh.isWhole }) { healed = (mesh.sightings.last?.at ?? .now).seconds(since: start) }
        rounds = 1
        say("one view after \(Measurement.Unit.seconds.text(healed))")
    }
}
