"""The demo: will this flight land late?

336,776 real flights left New York in 2013. Three versions of a model say whether a flight will land more than 15 minutes late:

    v1  knows the schedule
    v2  also knows the departure delay and the weather: better
    v3  also knows the age of the aircraft: as good offline, where flights of unknown aircraft were dropped,
        but one live flight in six has an unknown aircraft, and its code fails on them

The demo serves v1, replays March as live traffic, and updates to v2 and to v3 with a canary and two alarms.
Bannister completes the first update and takes the second one back. Everything goes through boto3, as it would on AWS.

    __main__    the story, in the order in which it happens
    flights     the data: features, labels, what a caller sends
    training    three versions, their offline scores, their artifacts
    inference   the code that each artifact carries; where v3 fails
    server      `bannister up` as a process
    endpoint    what is asked of SageMaker and CloudWatch
    client      a process of its own that sends flights at a steady rate
    traffic     that process, and what it was answered
    screen      events and the live split of the traffic
    report      scores, times, what had to hold
"""
